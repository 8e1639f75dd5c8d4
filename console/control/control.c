#include "console/control/control.h"

#include "common/clock.h"
#include "console/command.h"
#include "console/control/local.h"

#include <stdio.h>

static void look_nowhere(const struct conf_node *node, struct control_look *ret_look)
{
	(void)node;
	*ret_look = (struct control_look){.state = CONTROL_UNKNOWN};
}

static bool lives_nowhere(const struct conf_node *node, pid_t pid)
{
	(void)node;
	(void)pid;
	return false;
}

static int not_from_here(const struct conf_node *node, struct err *e)
{
	return err_set(
		e, ERR_UNSUPPORTED,
		"%s is not controlled from here (control = none); do this on its own machine",
		node->name);
}

static int start_nowhere(const struct conf_node *node, struct control_started *ret_started,
			 struct err *e)
{
	(void)ret_started;
	return not_from_here(node, e);
}

static bool ended_nowhere(const struct control_started *started, char *ret_how, size_t size)
{
	(void)started;
	snprintf(ret_how, size, "never started");
	return true;
}

static int signal_nowhere(const struct conf_node *node, int number, pid_t *ret_pid, struct err *e)
{
	(void)number;
	(void)ret_pid;
	return not_from_here(node, e);
}

static int open_log_nowhere(const struct conf_node *node, int *ret_fd, struct err *e)
{
	(void)ret_fd;
	return not_from_here(node, e);
}

static int shell_nowhere(const struct conf_node *node, char *const *argv, int *ret_code,
			 struct err *e)
{
	(void)argv;
	(void)ret_code;
	return not_from_here(node, e);
}

static const struct control_ops none = {
	.name = "none",
	.look = look_nowhere,
	.lives = lives_nowhere,
	.start = start_nowhere,
	.ended = ended_nowhere,
	.signal = signal_nowhere,
	.open_log = open_log_nowhere,
	.shell = shell_nowhere,
};

const struct control_ops *control_of(const struct conf_node *node)
{
	return node->control == CONF_CONTROL_LOCAL ? &control_local : &none;
}

bool control_wait(const struct conf_node *node, unsigned states, uint64_t timeout_ms)
{
	const struct control_ops *ops = control_of(node);
	uint64_t deadline_ms = clock_mono_ms() + timeout_ms;
	struct control_look look;

	for (;;) {
		ops->look(node, &look);
		if (states & 1u << look.state)
			return true;
		if (clock_mono_ms() >= deadline_ms || cli_interrupted())
			return false;
		cli_sleep_ms(20);
	}
}

bool control_wait_gone(const struct conf_node *node, pid_t pid, uint64_t timeout_ms)
{
	const struct control_ops *ops = control_of(node);
	uint64_t deadline_ms = clock_mono_ms() + timeout_ms;

	while (ops->lives(node, pid)) {
		if (clock_mono_ms() >= deadline_ms || cli_interrupted())
			return false;
		cli_sleep_ms(10);
	}
	return true;
}

void control_path(const struct conf_node *node, const char *file, char *ret_path, size_t size)
{
	snprintf(ret_path, size, "%s/%s", node->dir, file);
}
