#include "console/sql/prompt.h"

#include <errno.h>
#include <histedit.h>
#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HISTORY_ENTRIES 2000

static volatile sig_atomic_t interrupted;

bool prompt_interrupted(void)
{
	return interrupted != 0;
}

static void on_interrupt(int number)
{
	(void)number;
	interrupted = 1;
}

struct prompt {
	struct session *session;
	EditLine *el;
	History *history;
	HistEvent event;
	char history_path[1024];
	char text[SQL_NAMESPACE_MAX + 8];
	bool cancelled; /* the line being edited ended with ^C */
};

/* Makes the folder `path` and those above it that are missing. */
static bool make_folders(char *path)
{
	for (char *p = path + 1; *p; p++) {
		if (*p != '/')
			continue;
		*p = 0;
		bool made = mkdir(path, 0700) == 0 || errno == EEXIST;
		*p = '/';
		if (!made)
			return false;
	}
	return mkdir(path, 0700) == 0 || errno == EEXIST;
}

bool prompt_history_path(char *ret_path, size_t size)
{
	const char *state = getenv("XDG_STATE_HOME");
	const char *home = getenv("HOME");
	char folder[1024];
	int n;

	if (state && state[0] == '/')
		n = snprintf(folder, sizeof folder, "%s/drover", state);
	else if (home && home[0] == '/')
		n = snprintf(folder, sizeof folder, "%s/.local/state/drover", home);
	else
		return false;
	if (n >= (int)sizeof folder || !make_folders(folder))
		return false;
	return snprintf(ret_path, size, "%s/history", folder) < (int)size;
}

static char *prompt_text(EditLine *el)
{
	struct prompt *p;

	el_get(el, EL_CLIENTDATA, &p);
	session_prompt(p->session, p->text, sizeof p->text);
	return p->text;
}

static unsigned char cancel_line(EditLine *el, int ch)
{
	struct prompt *p;

	(void)ch;
	el_get(el, EL_CLIENTDATA, &p);
	p->cancelled = true;
	return CC_EOF;
}

static void history_open(struct prompt *p)
{
	p->history = history_init();
	if (!p->history)
		return;
	history(p->history, &p->event, H_SETSIZE, HISTORY_ENTRIES);
	history(p->history, &p->event, H_SETUNIQUE, 1);
	if (prompt_history_path(p->history_path, sizeof p->history_path))
		history(p->history, &p->event, H_LOAD, p->history_path);
	else
		p->history_path[0] = 0;
	el_set(p->el, EL_HIST, history, p->history);
}

static void history_close(struct prompt *p)
{
	if (!p->history)
		return;
	if (p->history_path[0]) {
		/* What was typed may hold secrets. */
		mode_t before = umask(077);
		history(p->history, &p->event, H_SAVE, p->history_path);
		umask(before);
	}
	history_end(p->history);
}

static int editor_open(struct prompt *p, struct err *e)
{
	p->el = el_init("drover", stdin, stdout, stderr);
	if (!p->el)
		return err_set(e, ERR_IO, "the terminal cannot be edited on; use -e or -f");
	el_set(p->el, EL_CLIENTDATA, p);
	el_set(p->el, EL_PROMPT, prompt_text);
	el_set(p->el, EL_EDITOR, "emacs");
	el_set(p->el, EL_SIGNAL, 0);
	history_open(p);
	/* ^C comes as a key while a line is edited, so that it ends that line and nothing else. */
	el_set(p->el, EL_ADDFN, "drover-cancel", "Forget the line", cancel_line);
	el_set(p->el, EL_BIND, "^C", "drover-cancel", NULL);
	el_set(p->el, EL_BIND, "^R", "em-inc-search-prev", NULL);
	el_set(p->el, EL_SETTY, "-d", "intr=", NULL);
	return 0;
}

/* false: the input has ended. */
static bool take_line(struct prompt *p)
{
	int n = 0;
	const char *line;

	p->cancelled = false;
	interrupted = 0;
	line = el_gets(p->el, &n);
	/* As a key or, where the terminal insists on it, as a signal. */
	if (p->cancelled || (!line && interrupted)) {
		fputs("^C\n", stdout);
		el_reset(p->el);
		session_cancel_line(p->session);
		return true;
	}
	if (!line || n <= 0)
		return false;
	if (strspn(line, " \t\n") < (size_t)n && p->history)
		history(p->history, &p->event, H_ENTER, line);
	char *copy = strndup(line, strcspn(line, "\n"));
	if (!copy)
		return false;
	interrupted = 0;
	enum session_state state = session_line(p->session, copy);
	free(copy);
	return state != SESSION_QUIT;
}

int prompt_run(struct session *s, struct err *e)
{
	struct prompt p = {.session = s};
	struct sigaction on = {.sa_handler = on_interrupt}, before;
	int rc;

	setlocale(LC_CTYPE, "");
	rc = editor_open(&p, e);
	if (rc)
		return rc;
	sigaction(SIGINT, &on, &before);
	printf("Statements end with ; and \\? shows help, \\q leaves.\n");
	while (take_line(&p))
		;
	if (session_collected(s) > 0)
		fprintf(s->errors, "the transaction was not committed: none of its statements was "
				   "executed\n");
	sigaction(SIGINT, &before, NULL);
	history_close(&p);
	el_end(p.el);
	return 0;
}
