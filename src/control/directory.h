/*
 * A directory that belongs to the node, or to several nodes of one user: the
 * runtime directory and the rendezvous directory. Control thread.
 */
#ifndef CONTROL_DIRECTORY_H
#define CONTROL_DIRECTORY_H

#include <stddef.h>

/*
 * Makes it if only it is missing, and checks that it is a directory which we or root
 * own, not everybody may write to, and we may. On failure `ret_error` has a line for
 * the user, which begins with `what` and the path.
 */
int directory_claim(const char *what, const char *path, char *ret_error,
		    size_t error_size);

#endif
