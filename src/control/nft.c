/*
 * See nft.h. The library resolves names of interfaces and opens sockets while it runs
 * commands, so it runs in the handle's namespace as a whole.
 */
#include "control/nft.h"

#include "base/netns.h"

#include <errno.h>
#include <nftables/libnftables.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct nft {
	const struct netns *netns;
	struct nft_ctx *context;
	bool is_busy; /* the library runs, or has not come back */
	unsigned life;
	char words[256];
};

/* Those that say something about a cause; the library has them in its text only. */
static const int causes[] = {EPERM, EACCES, EOPNOTSUPP, ENOENT, EEXIST,
			     EBUSY, ENOMEM, ENOBUFS,	EMFILE, EIO};

static int open_context(struct nft *nft)
{
	nft->context = nft_ctx_new(NFT_CTX_DEFAULT);
	if (!nft->context)
		return -ENOMEM;
	if (nft_ctx_buffer_output(nft->context) == 0 &&
	    nft_ctx_buffer_error(nft->context) == 0)
		return 0;
	nft_ctx_free(nft->context);
	nft->context = NULL;
	return -ENOMEM;
}

int nft_open(const struct netns *netns, struct nft **ret_nft)
{
	struct nft *nft = calloc(1, sizeof(*nft));
	int error;

	if (!nft)
		return -ENOMEM;
	nft->netns = netns;
	snprintf(nft->words, sizeof(nft->words), "no error");
	error = netns_enter(netns);
	if (error == 0) {
		error = open_context(nft);
		netns_leave(netns);
	}
	if (error) {
		nft_close(nft);
		return error;
	}
	*ret_nft = nft;
	return 0;
}

void nft_close(struct nft *nft)
{
	if (!nft)
		return;
	if (nft->context && !nft->is_busy)
		nft_ctx_free(nft->context);
	free(nft);
}

/*
 * Without memory the library calls exit(3). Who undoes something then, in a handler of
 * that, can't use a context that is in the middle of something, nor free it.
 */
static int renew(struct nft *nft)
{
	if (nft->context && !nft->is_busy)
		nft_ctx_free(nft->context);
	nft->context = NULL;
	nft->is_busy = false;
	nft->life++;
	return open_context(nft);
}

/* "<cmdline>:3:1-20: Error: Could not process rule: No such file or directory" */
static void take_words(struct nft *nft, const char *text)
{
	const char *from = strstr(text, "Error: ");

	from = from ? from + strlen("Error: ") : text;
	snprintf(nft->words, sizeof(nft->words), "%.*s", (int)strcspn(from, "\n"), from);
	if (!nft->words[0])
		snprintf(nft->words, sizeof(nft->words), "libnftables says nothing");
}

static int find_cause(const char *words)
{
	for (size_t i = 0; i < sizeof(causes) / sizeof(causes[0]); i++) {
		if (strstr(words, strerror(causes[i])))
			return -causes[i];
	}
	return -EINVAL;
}

/*
 * The kernel said no, and that is done with. After another error answers may still be on
 * their way, which the library would take for those to its next question: it ends the
 * process then.
 */
static bool is_answer(int cause)
{
	return cause == -EPERM || cause == -EACCES || cause == -EOPNOTSUPP ||
	       cause == -ENOENT || cause == -EEXIST || cause == -EBUSY;
}

static int fail(struct nft *nft)
{
	int cause;

	take_words(nft, nft_ctx_get_error_buffer(nft->context));
	cause = find_cause(nft->words);
	if (!is_answer(cause))
		renew(nft);
	return cause;
}

static int run(struct nft *nft, const char *commands)
{
	int failed, error = nft->is_busy || !nft->context ? renew(nft) : 0;

	if (error) {
		snprintf(nft->words, sizeof(nft->words), "%s", strerror(-error));
		return error;
	}
	nft->is_busy = true;
	failed = nft_run_cmd_from_buffer(nft->context, commands);
	nft->is_busy = false;
	return failed ? fail(nft) : 0;
}

int nft_run(struct nft *nft, const char *commands)
{
	int error = netns_enter(nft->netns);

	if (error) {
		snprintf(nft->words, sizeof(nft->words), "%s", strerror(-error));
		return error;
	}
	error = run(nft, commands);
	netns_leave(nft->netns);
	return error;
}

const char *nft_output(const struct nft *nft)
{
	return nft_ctx_get_output_buffer(nft->context);
}

const char *nft_last_error(const struct nft *nft)
{
	return nft->words;
}

unsigned nft_life(const struct nft *nft)
{
	return nft->life + nft->is_busy;
}

bool nft_can_quote(const char *name)
{
	return !strpbrk(name, "\"\\*\n");
}
