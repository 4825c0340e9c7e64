#include "os/clock.h"

#include <stdio.h>
#include <errno.h>
#include <time.h>

static uint64_t read_clock(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return (uint64_t)t.tv_sec * OS_SECOND + (uint64_t)t.tv_nsec;
}

uint64_t clock_now_ns(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

uint64_t clock_wall_ns(void)
{
	return read_clock(CLOCK_REALTIME);
}

uint64_t clock_thread_cpu_ns(void)
{
	return read_clock(CLOCK_THREAD_CPUTIME_ID);
}

static void put_digits(char *p, unsigned value, int count)
{
	while (count--) {
		p[count] = (char)('0' + value % 10);
		value /= 10;
	}
}

void clock_sleep_ns(uint64_t ns)
{
	struct timespec left = { .tv_sec = (time_t)(ns / OS_SECOND), .tv_nsec = (long)(ns % OS_SECOND) };

	while (nanosleep(&left, &left) < 0 && errno == EINTR)
		;
}

size_t clock_iso(uint64_t wall_ns, char *out)
{
	const time_t seconds = (time_t)(wall_ns / OS_SECOND);
	struct tm tm;

	gmtime_r(&seconds, &tm);
	put_digits(out, (unsigned)tm.tm_year + 1900, 4);
	out[4] = '-';
	put_digits(out + 5, (unsigned)tm.tm_mon + 1, 2);
	out[7] = '-';
	put_digits(out + 8, (unsigned)tm.tm_mday, 2);
	out[10] = 'T';
	put_digits(out + 11, (unsigned)tm.tm_hour, 2);
	out[13] = ':';
	put_digits(out + 14, (unsigned)tm.tm_min, 2);
	out[16] = ':';
	put_digits(out + 17, (unsigned)tm.tm_sec, 2);
	out[19] = '.';
	put_digits(out + 20, (unsigned)(wall_ns / OS_MS % 1000), 3);
	out[23] = 'Z';
	out[24] = '\0';
	return 24;
}
