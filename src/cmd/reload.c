/* reload.c: `busbar reload`. */
#include <stdio.h>
#include <string.h>

#include <yyjson.h>

#include "cmd/admin_call.h"
#include "cmd/cmd.h"

int cmd_reload(int argc, char **argv)
{
	static const struct option longs[] = {
		ADMIN_OPTIONS,
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	struct admin_target target = { 0 };
	struct bb_buf answer;
	int c, status = 0;

	optind = 1;
	while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		if (admin_option(&target, c, optarg))
			continue;
		fprintf(c == 'h' ? stdout : stderr,
			"usage: busbar reload [--admin ADDR] [--ca FILE] [--cert FILE --key FILE]\n\n"
			"Lets a running gateway read its configuration file again, and the certificates that\n"
			"it names. A file with mistakes is refused as a whole, they are printed, and the old\n"
			"configuration stays in force. No connection is dropped.\n\n" ADMIN_USAGE);
		return c == 'h' ? 0 : 2;
	}
	bb_buf_init(&answer, 64u << 20);
	int rc = admin_call("reload", &target, "POST", "/admin/reload", &status, &answer);
	if (!rc) {
		yyjson_doc *doc = yyjson_read(answer.p, answer.len, 0);
		yyjson_val *root = yyjson_doc_get_root(doc);
		const char *report = yyjson_get_str(yyjson_obj_get(root, "report"));
		if (report && *report)
			fputs(report, stderr);
		rc = status == 200 ? 0 : 2;
		if (rc)
			fprintf(stderr, "busbar reload: refused; the old configuration stays in force\n");
		else
			printf("reloaded\n");
		yyjson_doc_free(doc);
	}
	bb_buf_fini(&answer);
	return rc;
}
