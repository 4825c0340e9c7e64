/*
 * report_html.h: a report as one page: tables, and plots as inline SVG.
 *
 * For: `busbar replay --report` and `busbar bench run --report`. The page needs no script and
 * nothing from elsewhere, follows the reader's choice of light or dark, and says in tables what it
 * draws. Threads: pure. Memory: appended to the caller's buffer; a plot has at most a thousand
 * points a line. Errors: those of bb_buf, kept in the buffer; of saving also -BB_ESYSTEM, errno kept.
 */
#pragma once

#include "sim/sim_report.h"

#define REPORT_HTML_MAX ((size_t)64 << 20)

void report_html(const struct sim_report *report, struct bb_buf *out);
/* Into a file. */
BB_MUST int report_html_save(const struct sim_report *report, const char *path);
