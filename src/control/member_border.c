/*
 * Borders, as the members tell each other: see member.h and peer_border.c. Control
 * thread.
 */
#include "control/member_internal.h"

void membership_set_border(struct membership *membership,
			   const struct peer_border *border)
{
	membership->owner.border = *border;
	for (unsigned i = 0; i < membership->num_peers; i++)
		peer_send_border(membership->peers[i]);
}

void membership_each_border(const struct membership *membership,
			    void (*each)(const struct member_border_report *report,
					 void *arg),
			    void *arg)
{
	for (unsigned i = 0; i < membership->num_peers; i++) {
		const struct peer *peer = membership->peers[i];
		const struct member_border_report report = {
			.id = peer_id(peer),
			.name = peer_name(peer),
			.border = peer_get_border(peer),
			.says_it = peer_says_border(peer),
		};

		if (peer_state(peer) == PEER_UP || peer_state(peer) == PEER_SUSPECT ||
		    peer_state(peer) == PEER_FADING)
			each(&report, arg);
	}
}
