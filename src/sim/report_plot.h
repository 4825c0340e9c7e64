/*
 * report_plot.h: lines in a pair of axes, as one SVG element.
 *
 * For: report_html. Threads: pure. Memory: appended to the caller's buffer; of a line with more
 * than PLOT_POINTS_MAX points some are left out, evenly. Errors: those of bb_buf, kept in the
 * buffer.
 */
#pragma once

#include "sim/sim_report.h"

#define PLOT_POINTS_MAX 1000u
#define PLOT_COLOURS 8u /* classes c0 … c7 of the page's style */

enum plot_scale { PLOT_LINEAR, PLOT_LOG };
enum plot_stroke { PLOT_SOLID, PLOT_DASHED };

struct plot_line {
	struct report_line line;
	uint32_t colour; /* any number; it is taken modulo PLOT_COLOURS */
	enum plot_stroke stroke;
	const char *name; /* shown when pointed at */
};

struct plot {
	const char *title, *x_name, *y_name;
	enum plot_scale x_scale; /* y is linear, from 0 */
	double y_max;		 /* 0: that of the lines */
	const struct plot_line *lines;
	uint32_t line_count;
};

/* Writes nothing when no line has two points. */
void plot_write(const struct plot *p, struct bb_buf *out);
/* Text as HTML and SVG take it. */
void plot_add_text(struct bb_buf *out, const char *text);
