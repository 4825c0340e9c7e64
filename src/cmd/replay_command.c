/* replay_command.c: `busbar replay`: a journal told again, or a workload before simulated engines.
 */
#include <string.h>

#include "cmd/cmd.h"
#include "cmd/replay_fleet.h"
#include "cmd/replay_journal.h"

/* Whoever says what engines there are wants them simulated. */
static bool is_simulation(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (strncmp(argv[i], "--engines", 9) == 0 ||
		    strncmp(argv[i], "--profile", 9) == 0 || strncmp(argv[i], "gen:", 4) == 0)
			return true;
	return false;
}

int cmd_replay(int argc, char **argv)
{
	return is_simulation(argc, argv) ? replay_fleet(argc, argv) : replay_journal(argc, argv);
}
