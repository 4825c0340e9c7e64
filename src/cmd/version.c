#include "cmd/version.h"

const char busbar_version[] = BUSBAR_VERSION;
const char busbar_commit[] = BUSBAR_COMMIT;
const char busbar_variant[] = BUSBAR_VARIANT;
