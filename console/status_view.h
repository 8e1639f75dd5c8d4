/* A view of the cluster as lines: for `status`, `up` and, later, the console. */
#ifndef DROVER_CONSOLE_STATUS_VIEW_H
#define DROVER_CONSOLE_STATUS_VIEW_H

#include "console/cluster.h"

/* The node table (or one line a node and group) and the verdict, or JSON, or TSV with the verdict
 * on stderr. */
void status_print(const struct cli *cli, const struct cluster_view *view, bool groups, FILE *f,
		  const char *eol);

#endif
