/* Control of agents on this machine: posix_spawn, /proc and pidfds. */
#ifndef DROVER_CONSOLE_CONTROL_LOCAL_H
#define DROVER_CONSOLE_CONTROL_LOCAL_H

#include "console/control/control.h"

extern const struct control_ops control_local;

#endif
