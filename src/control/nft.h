/*
 * nftables, by libnftables: commands in its own language.
 *
 * nft.c is the only file that includes libnftables. A handle holds one netlink socket;
 * a table made with `flags owner` belongs to it: nobody else can change it, and the
 * kernel removes it when the handle is closed or the process ends. Errors are -errno,
 * nft_last_error() has the library's words. Never logs. Control thread.
 */
#ifndef CONTROL_NFT_H
#define CONTROL_NFT_H

#include <stdbool.h>

struct netns;
struct nft;

/* `netns` outlives the handle; NULL: the thread's own namespace. */
int nft_open(const struct netns *netns, struct nft **ret_nft);
void nft_close(struct nft *nft); /* accepts NULL */

/*
 * Lines of commands: all of them happen at once, or none. -EINVAL if the library says
 * nothing that stands for an errno.
 */
int nft_run(struct nft *nft, const char *commands);

/*
 * What the commands of a run that succeeded printed ("list tables"); never NULL, valid
 * until the next run.
 */
const char *nft_output(const struct nft *nft);

/* Never NULL; one line, valid until the next run. */
const char *nft_last_error(const struct nft *nft);

/*
 * Another number than before: the socket is another one, and the tables that belonged to
 * it are gone. So it is after a run that failed without an answer of the kernel, and
 * after one that the library did not come back from: without memory it calls exit(3), and
 * this is a handler of that.
 */
unsigned nft_life(const struct nft *nft);

/* Can this name stand in a command, in quotes? The language has no escapes. */
bool nft_can_quote(const char *name);

#endif
