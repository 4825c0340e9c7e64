#include "wire/date.h"

#include "base/log.h"

#define DAY_S 86400u
#define YEAR_MIN 1970u

struct civil {
	uint64_t year;
	unsigned month, day; /* from 1 */
};

/*
 * Days since 1970-01-01, by counting years from March, so that the leap day is a year's last
 * (E. G. Richards, "Mapping Time", 1998, in the form for 400-year eras).
 */
static uint64_t days_of(struct civil c)
{
	const uint64_t year = c.month > 2 ? c.year : c.year - 1;
	const uint64_t era = year / 400, of_era = year % 400;
	const unsigned of_year =
		(153 * (c.month > 2 ? c.month - 3 : c.month + 9) + 2) / 5 + c.day - 1;

	return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static struct civil civil_of(uint64_t days)
{
	const uint64_t shifted = days + 719468, era = shifted / 146097;
	const unsigned of_era = (unsigned)(shifted % 146097);
	const unsigned years = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
	const unsigned of_year = of_era - (365 * years + years / 4 - years / 100);
	const unsigned from_march = (5 * of_year + 2) / 153;
	const unsigned month = from_march < 10 ? from_march + 3 : from_march - 9;

	return (struct civil){
		.year = era * 400 + years + (month <= 2),
		.month = month,
		.day = of_year - (153 * from_march + 2) / 5 + 1,
	};
}

/* Exactly `count` digits at the front of `*s`, which moves on; false: they are not there. */
static bool take_digits(struct bb_str *s, size_t count, unsigned *out)
{
	unsigned value = 0;

	if (s->len < count)
		return false;
	for (size_t i = 0; i < count; i++) {
		if (s->p[i] < '0' || s->p[i] > '9')
			return false;
		value = value * 10 + (unsigned)(s->p[i] - '0');
	}
	*s = bb_str_skip(*s, count);
	*out = value;
	return true;
}

static bool take_char(struct bb_str *s, char wanted)
{
	if (s->len == 0 || s->p[0] != wanted)
		return false;
	*s = bb_str_skip(*s, 1);
	return true;
}

static unsigned month_days(unsigned year, unsigned month)
{
	static const uint8_t days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	const bool is_leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

	return days[month - 1] + (month == 2 && is_leap);
}

static bool take_day(struct bb_str *s, uint64_t *seconds)
{
	unsigned year, month, day;

	if (!take_digits(s, 4, &year) || !take_char(s, '-') || !take_digits(s, 2, &month) ||
	    !take_char(s, '-') || !take_digits(s, 2, &day))
		return false;
	if (year < YEAR_MIN || month < 1 || month > 12 || day < 1 || day > month_days(year, month))
		return false;
	*seconds = days_of((struct civil){ year, month, day }) * DAY_S;
	return true;
}

static bool take_clock(struct bb_str *s, unsigned *seconds)
{
	unsigned hour, minute, second;

	if (!take_digits(s, 2, &hour) || !take_char(s, ':') || !take_digits(s, 2, &minute) ||
	    !take_char(s, ':') || !take_digits(s, 2, &second))
		return false;
	*seconds = hour * 3600 + minute * 60 + second;
	return hour < 24 && minute < 60 && second < 60;
}

/* "Z" or "+02:00": seconds to take away from the local time; false: neither. */
static bool take_zone(struct bb_str *s, int64_t *east_s)
{
	unsigned hour, minute;

	*east_s = 0;
	if (take_char(s, 'Z'))
		return true;
	const bool is_west = s->len && s->p[0] == '-';
	if (!take_char(s, '+') && !take_char(s, '-'))
		return false;
	if (!take_digits(s, 2, &hour) || !take_char(s, ':') || !take_digits(s, 2, &minute) ||
	    hour > 23 || minute > 59)
		return false;
	*east_s = (int64_t)(hour * 3600 + minute * 60) * (is_west ? -1 : 1);
	return true;
}

int date_parse(struct bb_str text, uint64_t *unix_s)
{
	uint64_t day_s;
	unsigned clock_s = 0;
	int64_t east_s = 0;

	if (!take_day(&text, &day_s))
		return -BB_EINVALID;
	if (text.len && (!take_char(&text, 'T') || !take_clock(&text, &clock_s) ||
			 !take_zone(&text, &east_s) || text.len))
		return -BB_EINVALID;
	const int64_t at_s = (int64_t)day_s + clock_s - east_s;
	if (at_s < 0)
		return -BB_EINVALID;
	*unix_s = (uint64_t)at_s;
	return 0;
}

void date_write(uint64_t unix_s, struct bb_buf *out)
{
	const struct civil c = civil_of(unix_s / DAY_S);
	const unsigned of_day = (unsigned)(unix_s % DAY_S);

	bb_buf_printf(out, "%04llu-%02u-%02u", (unsigned long long)c.year, c.month, c.day);
	if (of_day)
		bb_buf_printf(out, "T%02u:%02u:%02uZ", of_day / 3600, of_day / 60 % 60,
			      of_day % 60);
}

uint64_t date_month(uint64_t unix_s)
{
	const struct civil c = civil_of(unix_s / DAY_S);

	return c.year * 12 + c.month - 1;
}

uint64_t date_month_begin(uint64_t month)
{
	BB_ASSERT(month >= YEAR_MIN * 12);
	return days_of((struct civil){ month / 12, (unsigned)(month % 12) + 1, 1 }) * DAY_S;
}
