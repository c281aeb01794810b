/* Programs that the node runs: what they get, what they say, how they end. */
#include "control/child.h"
#include "loop.h"
#include "shim.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

struct heard {
	char text[4096]; /* lines, each with a '|' behind it */
	unsigned lines;
	unsigned ends;
	int status;
};

static void on_said(void *arg, const char *line)
{
	struct heard *heard = arg;
	size_t used = strlen(heard->text);

	heard->lines++;
	snprintf(heard->text + used, sizeof(heard->text) - used, "%s|", line);
}

static void on_ended(void *arg, int status)
{
	struct heard *heard = arg;

	heard->ends++;
	heard->status = status;
}

static const struct child_handler handler = {.said = on_said, .ended = on_ended};

static int run(struct loop *loop, struct heard *heard, const char *script,
	       struct child **ret_child)
{
	const char *const argv[] = {"/bin/sh", "-c", script, "child", "one two", NULL};

	memset(heard, 0, sizeof(*heard));
	return child_new(loop->base, argv, &handler, heard, ret_child);
}

TEST_CASE(child, says_and_ends)
{
	struct child *child;
	struct heard heard;
	struct loop loop;

	REQUIRE(loop_open(&loop));
	REQUIRE(run(&loop, &heard, "echo a; echo; echo \"$1\" >&2; printf c; exit 7",
		    &child) == 0);
	LOOP_WAIT(&loop, heard.ends == 1);
	CHECK_STR(heard.text, "a|one two|c|");
	CHECK(WIFEXITED(heard.status));
	CHECK_INT(WEXITSTATUS(heard.status), 7);
	child_signal(child, SIGTERM);
	child_free(child, 0);
	CHECK(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD);
	loop_close(&loop);
}

TEST_CASE(child, a_long_line_is_cut)
{
	struct child *child;
	struct heard heard;
	struct loop loop;

	REQUIRE(loop_open(&loop));
	REQUIRE(run(&loop, &heard, "printf '%0600d\\n' 1; printf 'a\\0b\\r\\n'",
		    &child) == 0);
	LOOP_WAIT(&loop, heard.ends == 1);
	CHECK_INT(heard.lines, 3);
	CHECK_INT(strcspn(heard.text, "|"), 511);
	check_words(heard.text, "1|a b|");
	child_free(child, 0);
	loop_close(&loop);
}

TEST_CASE(child, what_cannot_run_is_not_started)
{
	const char *const missing[] = {"/nonexistent/client", NULL};
	const char *const directory[] = {"/", NULL};
	struct child *child = NULL;
	struct heard heard = {0};
	struct loop loop;

	REQUIRE(loop_open(&loop));
	CHECK_INT(child_new(loop.base, missing, &handler, &heard, &child), -ENOENT);
	CHECK_INT(child_new(loop.base, directory, &handler, &heard, &child), -EACCES);
	CHECK(!child);
	CHECK(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD);
	child_free(NULL, 0);
	loop_close(&loop);
}

/* Descriptors without close-on-exec, an ignored signal and a mask are not handed on. */
TEST_CASE(child, inherits_nothing)
{
	int fd = open("/dev/zero", O_RDONLY);
	struct child *child;
	struct heard heard;
	struct loop loop;
	sigset_t mask, before;

	REQUIRE(loop_open(&loop));
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&mask);
	sigaddset(&mask, SIGTERM);
	sigprocmask(SIG_BLOCK, &mask, &before);
	REQUIRE(run(&loop, &heard,
		    "readlink /proc/self/fd/0; ls -l /proc/$$/fd | grep -c zero;"
		    "grep -E 'SigBlk|SigIgn' /proc/$$/status | tr -d '\\t\\n'",
		    &child) == 0);
	LOOP_WAIT(&loop, heard.ends == 1);
	CHECK_STR(heard.text,
		  "/dev/null|0|SigBlk:0000000000000000SigIgn:0000000000000000|");
	child_free(child, 0);
	sigprocmask(SIG_SETMASK, &before, NULL);
	signal(SIGPIPE, SIG_DFL);
	close(fd);
	loop_close(&loop);
}

TEST_CASE(child, ends_when_told)
{
	struct child *child;
	struct heard heard;
	struct loop loop;

	REQUIRE(loop_open(&loop));
	REQUIRE(run(&loop, &heard,
		    "trap 'echo bye; exit 3' TERM; echo on; "
		    "while :; do sleep 0.01; done",
		    &child) == 0);
	LOOP_WAIT(&loop, heard.lines == 1);
	child_signal(child, SIGTERM);
	LOOP_WAIT(&loop, heard.ends == 1);
	CHECK_STR(heard.text, "on|bye|");
	CHECK_INT(WEXITSTATUS(heard.status), 3);
	child_free(child, 0);
	loop_close(&loop);
}

/* Whoever ignores SIGTERM is killed, and so is what it has started. */
TEST_CASE(child, is_killed_with_its_children)
{
	struct child *child;
	struct heard heard;
	struct loop loop;
	pid_t grandchild;

	REQUIRE(loop_open(&loop));
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	REQUIRE(run(&loop, &heard, "trap '' TERM; sleep 1000 & echo $!; wait; wait",
		    &child) == 0);
	LOOP_WAIT(&loop, heard.lines == 1);
	grandchild = (pid_t)atoi(heard.text);
	REQUIRE(grandchild > 1);
	child_signal(child, SIGTERM);
	child_free(child, 1);
	CHECK_INT(waitpid(grandchild, NULL, 0), grandchild);
	prctl(PR_SET_CHILD_SUBREAPER, 0);
	loop_close(&loop);
}

/* The kernel sees to it, whatever the parent died of. */
TEST_CASE(child, dies_with_its_parent)
{
	struct heard heard;
	struct loop loop;
	pid_t node, client = 0;
	int words[2];

	REQUIRE(loop_open(&loop));
	REQUIRE(pipe(words) == 0);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	node = fork();
	if (node == 0) {
		struct child *child;

		event_reinit(loop.base);
		if (run(&loop, &heard, "echo $$; exec sleep 1000", &child) < 0)
			_exit(1);
		while (!heard.lines)
			loop_turn(&loop);
		client = (pid_t)atoi(heard.text);
		_exit(write(words[1], &client, sizeof(client)) < 0);
	}
	CHECK_INT(read(words[0], &client, sizeof(client)), sizeof(client));
	CHECK_INT(waitpid(node, NULL, 0), node);
	CHECK_INT(waitpid(client, NULL, 0), client);
	prctl(PR_SET_CHILD_SUBREAPER, 0);
	close(words[0]);
	close(words[1]);
	loop_close(&loop);
}
