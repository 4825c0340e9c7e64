#include "sim/report_plot.h"

#include <math.h>

#include "wire/utf8.h"

#define WIDTH 860.0
#define HEIGHT 320.0
#define LEFT 64.0
#define RIGHT 16.0
#define TOP 16.0
#define BOTTOM 48.0
#define TICKS_MAX 20
#define X_LEAST 1e-3 /* of a logarithmic axis */

void plot_add_text(struct bb_buf *out, const char *text)
{
	const struct bb_str s = bb_str_of(text);
	const bool is_text = utf8_check(s) == s.len;

	for (size_t i = 0; i < s.len; i++) {
		const unsigned char c = (unsigned char)s.p[i];
		if (c == '&')
			bb_buf_lit(out, "&amp;");
		else if (c == '<')
			bb_buf_lit(out, "&lt;");
		else if (c == '>')
			bb_buf_lit(out, "&gt;");
		else if (c == '"')
			bb_buf_lit(out, "&quot;");
		else if (c < ' ' || c == 127 || (c >= 128 && !is_text))
			bb_buf_lit(out, "?");
		else
			bb_buf_put(out, s.p + i, 1);
	}
}

/* ---- axes ---- */

struct axes {
	double x_min, x_max, y_max;
	enum plot_scale x_scale;
};

static double along_x(const struct axes *a, double x)
{
	if (a->x_scale == PLOT_LINEAR)
		return (x - a->x_min) / (a->x_max - a->x_min);
	return log10((x < a->x_min ? a->x_min : x) / a->x_min) / log10(a->x_max / a->x_min);
}

static double place_x(const struct axes *a, double x)
{
	return LEFT + along_x(a, x) * (WIDTH - LEFT - RIGHT);
}

static double place_y(const struct axes *a, double y)
{
	const double part = y > a->y_max ? 1 : y / a->y_max;

	return HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM);
}

/* 1, 2 or 5 times a power of ten, so that about `count` of them make the range. */
static double step_of(double range, double count)
{
	const double raw = range / count, power = pow(10, floor(log10(raw)));

	if (raw <= power)
		return power;
	if (raw <= 2 * power)
		return 2 * power;
	return raw <= 5 * power ? 5 * power : 10 * power;
}

static bool is_finite(const struct report_point *p)
{
	return isfinite(p->x) && isfinite(p->y);
}

/* False: there is nothing to draw. */
static bool find_axes(const struct plot *p, struct axes *a)
{
	uint32_t points = 0;

	*a = (struct axes){ .x_min = INFINITY, .x_max = -INFINITY, .x_scale = p->x_scale };
	for (uint32_t i = 0; i < p->line_count; i++)
		for (uint32_t k = 0; k < p->lines[i].line.count; k++) {
			const struct report_point *const at = &p->lines[i].line.points[k];
			if (!is_finite(at))
				continue;
			points++;
			a->x_min = fmin(a->x_min, at->x);
			a->x_max = fmax(a->x_max, at->x);
			a->y_max = fmax(a->y_max, at->y);
		}
	if (points < 2)
		return false;
	if (p->x_scale == PLOT_LOG) {
		a->x_min = pow(10, floor(log10(fmax(a->x_min, X_LEAST)) * 3) / 3);
		a->x_max = fmax(a->x_max, a->x_min * 2);
	}
	if (a->x_max <= a->x_min)
		a->x_max = a->x_min + fmax(1, fabs(a->x_min) / 100);
	if (p->y_max > 0)
		a->y_max = p->y_max;
	else
		a->y_max = a->y_max > 0 ? a->y_max * 1.05 : 1;
	return true;
}

static void write_x_tick(const struct axes *a, double x, struct bb_buf *out)
{
	const double at = place_x(a, x);

	bb_buf_printf(out,
		      "<path class=\"grid\" d=\"M%.1f %.1fV%.1f\"/>"
		      "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%.6g</text>\n",
		      at, TOP, HEIGHT - BOTTOM, at, HEIGHT - BOTTOM + 16, x);
}

static void write_x_ticks(const struct axes *a, struct bb_buf *out)
{
	if (a->x_scale == PLOT_LINEAR) {
		const double step = step_of(a->x_max - a->x_min, 8);
		const double first = ceil(a->x_min / step);
		for (int i = 0; i < TICKS_MAX && (first + i) * step <= a->x_max; i++)
			write_x_tick(a, (first + i) * step, out);
		return;
	}
	static const double parts[] = { 1, 2, 5 };
	const bool is_wide = a->x_max / a->x_min > 1e4;
	for (double power = pow(10, floor(log10(a->x_min))); power <= a->x_max; power *= 10)
		for (int i = 0; i < (is_wide ? 1 : 3); i++)
			if (power * parts[i] >= a->x_min && power * parts[i] <= a->x_max)
				write_x_tick(a, power * parts[i], out);
}

static void write_y_ticks(const struct axes *a, struct bb_buf *out)
{
	const double step = step_of(a->y_max, 5);

	for (int i = 0; i < TICKS_MAX && i * step <= a->y_max * 1.0001; i++) {
		const double y = i * step, at = place_y(a, y);
		bb_buf_printf(out,
			      "<path class=\"grid\" d=\"M%.1f %.1fH%.1f\"/>"
			      "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">%.6g</text>\n",
			      LEFT, at, WIDTH - RIGHT, LEFT - 6, at + 4, y);
	}
}

static void write_names(const struct plot *p, struct bb_buf *out)
{
	bb_buf_printf(out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">",
		      (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10);
	plot_add_text(out, p->x_name);
	bb_buf_printf(out,
		      "</text><text transform=\"translate(14 %.1f) rotate(-90)\" "
		      "text-anchor=\"middle\">",
		      (TOP + HEIGHT - BOTTOM) / 2);
	plot_add_text(out, p->y_name);
	bb_buf_lit(out, "</text>\n");
}

/* ---- lines ---- */

static void write_line(const struct axes *a, const struct plot_line *l, struct bb_buf *out)
{
	const uint32_t count = l->line.count;
	const uint32_t stride = (count + PLOT_POINTS_MAX - 1) / PLOT_POINTS_MAX;
	char command = 'M';

	if (count < 2)
		return;
	bb_buf_printf(out, "<path class=\"line c%u%s\" d=\"", l->colour % PLOT_COLOURS,
		      l->stroke == PLOT_DASHED ? " dashed" : "");
	for (uint32_t k = 0; k < count; k++) {
		const struct report_point *const at = &l->line.points[k];
		if ((k % stride && k + 1 < count) || !is_finite(at))
			continue;
		bb_buf_printf(out, "%c%.1f %.1f", command, place_x(a, at->x), place_y(a, at->y));
		command = 'L';
	}
	bb_buf_lit(out, "\"><title>");
	plot_add_text(out, l->name);
	bb_buf_lit(out, "</title></path>\n");
}

void plot_write(const struct plot *p, struct bb_buf *out)
{
	struct axes a;

	if (!find_axes(p, &a))
		return;
	bb_buf_printf(out, "<svg viewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-label=\"", WIDTH,
		      HEIGHT);
	plot_add_text(out, p->title);
	bb_buf_lit(out, "\">\n");
	write_x_ticks(&a, out);
	write_y_ticks(&a, out);
	write_names(p, out);
	for (uint32_t i = 0; i < p->line_count; i++)
		write_line(&a, &p->lines[i], out);
	bb_buf_lit(out, "</svg>\n");
}
