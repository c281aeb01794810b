/*
 * Whether the host lets in what other machines send to the node: TCP to the port of
 * `listen`, and RoCEv2. See check.h.
 *
 * The rules are those that `nft -j list ruleset` prints. A packet that opens such a
 * connection is led through each chain at the hook "input", as the kernel would. Where a
 * rule asks for what is not known of the packet, the answer is "maybe", and both ways are
 * gone: what comes of a chain is all that may come of it. What is warned of has no way
 * in, so it is dropped for sure, and not all that is dropped is seen: of the rules of
 * iptables only what nft has words for, of the legacy one none.
 */
#include "cli/check.h"

#include "base/name.h"
#include "cli/child.h"
#include "cli/text.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROCE_PORT      4791
#define DEPTH_MAX      16 /* of chains that jump to others; the kernel has the same */
#define NFT_TIMEOUT_MS 5000

struct packet {
	const char *protocol; /* "tcp" or "udp" */
	unsigned port;
	bool is_ipv6;
	char netdev[IF_NAMESIZE]; /* by which it comes; "" if not known */
};

enum answer { NO, MAYBE, YES };

/* What may become of it by a statement, a rule, a chain: several, if that isn't sure. */
enum {
	GOES_ON = 1 << 0,  /* to the next one */
	RETURNS = 1 << 1,  /* to what follows the jump to this chain, or to its policy */
	ACCEPTED = 1 << 2, /* by the table */
	DROPPED = 1 << 3,
};

/* ---- one match ---- */

/* A value of nft: a number, a name, a range, a set of such; "@name" is not known. */
static enum answer holds_number(const json_t *value, unsigned number)
{
	const json_t *range = json_object_get(value, "range");
	const json_t *set = json_object_get(value, "set");
	enum answer best = NO;
	json_t *member;
	size_t i;

	if (json_is_integer(value))
		return json_integer_value(value) == (json_int_t)number ? YES : NO;
	if (range)
		return json_integer_value(json_array_get(range, 0)) <= number &&
				       json_integer_value(json_array_get(range, 1)) >=
					       number
			       ? YES
			       : NO;
	if (json_is_array(value))
		set = value;
	if (!set)
		return MAYBE;
	json_array_foreach(set, i, member)
	{
		enum answer answer = holds_number(member, number);

		best = answer > best ? answer : best;
	}
	return best;
}

static enum answer holds_word(const json_t *value, const char *word)
{
	const json_t *set = json_object_get(value, "set");
	const char *text = json_string_value(value);
	enum answer best = NO;
	json_t *member;
	size_t i;

	if (text && (*text == '@' || strchr(text, '*')))
		return MAYBE;
	if (text)
		return strcmp(text, word) == 0 ? YES : NO;
	if (json_is_array(value))
		set = value;
	if (!set)
		return MAYBE;
	json_array_foreach(set, i, member)
	{
		enum answer answer = holds_word(member, word);

		best = answer > best ? answer : best;
	}
	return best;
}

/* Of a header that it has. */
static enum answer match_payload(const struct packet *packet, const char *field,
				 const json_t *right)
{
	if (strcmp(field, "dport") == 0)
		return holds_number(right, packet->port);
	if (strcmp(field, "protocol") == 0 || strcmp(field, "nexthdr") == 0)
		return holds_word(right, packet->protocol);
	return MAYBE;
}

static enum answer match_meta(const struct packet *packet, const char *key,
			      const json_t *right)
{
	if (strcmp(key, "l4proto") == 0)
		return holds_word(right, packet->protocol);
	if (strcmp(key, "nfproto") == 0)
		return holds_word(right, packet->is_ipv6 ? "ipv6" : "ipv4");
	if (strcmp(key, "iif") == 0 || strcmp(key, "iifname") == 0) {
		if (packet->netdev[0])
			return holds_word(right, packet->netdev);
		return holds_word(right, "lo") == YES ? NO : MAYBE;
	}
	return MAYBE;
}

/* Of what a rule looks at: a header that the packet hasn't. */
static bool is_absent(const struct packet *packet, const char *header)
{
	static const char *const others[] = {"tcp",  "udp",  "udplite", "sctp",
					     "dccp", "icmp", "icmpv6",	"igmp",
					     "esp",  "ah",   "comp",	"gre"};

	if (strcmp(header, "ip") == 0)
		return packet->is_ipv6;
	if (strcmp(header, "ip6") == 0)
		return !packet->is_ipv6;
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		if (strcmp(header, others[i]) == 0)
			return strcmp(header, packet->protocol) != 0;
	}
	return false;
}

static enum answer negate(enum answer answer)
{
	return (enum answer)(YES - answer);
}

/*
 * `left` is what of a packet is looked at, `right` what it has to be, or not to be. Where
 * the header isn't there neither holds: nft asks for its protocol first.
 */
static enum answer holds(const struct packet *packet, const char *op, const json_t *left,
			 const json_t *right)
{
	const json_t *payload = json_object_get(left, "payload");
	const json_t *meta = json_object_get(left, "meta");
	const json_t *ct = json_object_get(left, "ct");
	enum answer answer = MAYBE;

	if (payload && is_absent(packet, text_get(payload, "protocol")))
		return NO;
	if (payload)
		answer = match_payload(packet, text_get(payload, "field"), right);
	else if (meta)
		answer = match_meta(packet, text_get(meta, "key"), right);
	else if (ct && strcmp(text_get(ct, "key"), "state") == 0)
		answer = holds_word(right, "new");
	if (strcmp(op, "!=") == 0)
		return negate(answer);
	return strcmp(op, "==") == 0 || strcmp(op, "in") == 0 ? answer : MAYBE;
}

static enum answer match(const struct packet *packet, const json_t *match)
{
	return holds(packet, text_get(match, "op"), json_object_get(match, "left"),
		     json_object_get(match, "right"));
}

/* ---- rules and chains ---- */

struct ruleset {
	const json_t *list; /* what nft prints */
	const struct packet *packet;
};

static bool is_same(const json_t *a, const char *a_key, const json_t *b,
		    const char *b_key)
{
	return strcmp(text_get(a, a_key), text_get(b, b_key)) == 0;
}

static unsigned go_chain(const struct ruleset *ruleset, const json_t *of,
			 const char *name, unsigned depth);

/*
 * Who comes back from a chain goes on behind the jump; after a goto, behind the jump
 * before it. What a program or a proxy is asked for it may let in.
 */
static unsigned go_statement(const struct ruleset *ruleset, const json_t *rule,
			     const json_t *statement, unsigned depth)
{
	const json_t *jump = json_object_get(statement, "jump");
	const json_t *go = json_object_get(statement, "goto");
	unsigned ways;

	if (json_object_get(statement, "accept") || json_object_get(statement, "queue") ||
	    json_object_get(statement, "synproxy"))
		return ACCEPTED;
	if (json_object_get(statement, "drop") || json_object_get(statement, "reject"))
		return DROPPED;
	if (json_object_get(statement, "return"))
		return RETURNS;
	if (!jump && !go)
		return GOES_ON;
	ways = go_chain(ruleset, rule, text_get(jump ? jump : go, "target"), depth + 1);
	return go && ways & GOES_ON ? (ways & ~GOES_ON) | RETURNS : ways;
}

/* A map from what a packet is to what becomes of it; one with a name is not known. */
static unsigned go_map(const struct ruleset *ruleset, const json_t *rule,
		       const json_t *map, unsigned depth)
{
	const json_t *key = json_object_get(map, "key");
	const json_t *set = json_object_get(json_object_get(map, "data"), "set");
	unsigned ways = 0;
	json_t *pair;
	size_t i;

	if (!set)
		return ACCEPTED;
	json_array_foreach(set, i, pair)
	{
		enum answer answer =
			holds(ruleset->packet, "==", key, json_array_get(pair, 0));

		if (answer != NO)
			ways |= go_statement(ruleset, rule, json_array_get(pair, 1),
					     depth);
		if (answer == YES)
			return ways;
	}
	return ways | GOES_ON;
}

/* Those that only look; any other one may keep the packet from what follows. */
static bool is_harmless(const json_t *statement)
{
	static const char *const names[] = {"counter", "log",  "accept", "drop", "reject",
					    "jump",    "goto", "return", "vmap"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (json_object_get(statement, names[i]))
			return true;
	}
	return false;
}

static unsigned go_rule(const struct ruleset *ruleset, const json_t *rule, unsigned depth)
{
	unsigned ways = 0;
	json_t *statement;
	size_t i;

	json_array_foreach(json_object_get(rule, "expr"), i, statement)
	{
		const json_t *condition = json_object_get(statement, "match");
		const json_t *map = json_object_get(statement, "vmap");
		enum answer answer = condition ? match(ruleset->packet, condition)
				     : is_harmless(statement) ? YES
							      : MAYBE;
		unsigned some = GOES_ON;

		if (answer != YES)
			ways |= GOES_ON;
		if (answer == NO)
			return ways;
		if (map)
			some = go_map(ruleset, rule, map, depth);
		else if (!condition)
			some = go_statement(ruleset, rule, statement, depth);
		ways |= some & ~GOES_ON;
		if (!(some & GOES_ON))
			return ways;
	}
	return ways | GOES_ON;
}

/*
 * `of` names family and table. Who returns from it goes on where it was called. One way
 * in is enough: no other is looked for then.
 */
static unsigned go_chain(const struct ruleset *ruleset, const json_t *of,
			 const char *name, unsigned depth)
{
	unsigned ways = 0;
	json_t *member;
	size_t i;

	json_array_foreach(ruleset->list, i, member)
	{
		const json_t *rule = json_object_get(member, "rule");
		unsigned some;

		if (!rule || depth > DEPTH_MAX ||
		    !is_same(rule, "family", of, "family") ||
		    !is_same(rule, "table", of, "table") ||
		    strcmp(text_get(rule, "chain"), name) != 0)
			continue;
		some = go_rule(ruleset, rule, depth);
		ways |= some & (ACCEPTED | DROPPED);
		if (some & RETURNS)
			ways |= GOES_ON;
		if (ways & ACCEPTED || !(some & GOES_ON))
			return ways;
	}
	return ways | GOES_ON;
}

/* NULL: all let it in. A packet has to pass each of these chains. */
static const json_t *find_dropping(const struct ruleset *ruleset)
{
	const char *family = ruleset->packet->is_ipv6 ? "ip6" : "ip";
	json_t *member;
	size_t i;

	json_array_foreach(ruleset->list, i, member)
	{
		const json_t *chain = json_object_get(member, "chain");
		unsigned ways;

		if (!chain || strcmp(text_get(chain, "hook"), "input") != 0 ||
		    (strcmp(text_get(chain, "family"), "inet") != 0 &&
		     strcmp(text_get(chain, "family"), family) != 0))
			continue;
		ways = go_chain(ruleset, chain, text_get(chain, "name"), 0);
		if (ways & GOES_ON)
			ways |= strcmp(text_get(chain, "policy"), "drop") == 0 ? DROPPED
									       : ACCEPTED;
		if (!(ways & ACCEPTED))
			return chain;
	}
	return NULL;
}

/* As nft takes one that is in no quotes, and so does a shell. */
static bool is_plain(const char *name)
{
	return (isalpha((unsigned char)*name) || *name == '_') &&
	       name[strspn(name, NAME_BYTES)] == '\0';
}

/* Other programs give tables and chains any name. */
static char *mend_chain(const struct check *check, const json_t *chain,
			const struct packet *packet)
{
	const char *table = text_get(chain, "table"), *name = text_get(chain, "name");

	if (!is_plain(table) || !is_plain(name))
		return text_format("%snft -a list ruleset  # and let in %s to port %u",
				   check_at_node(check), packet->protocol, packet->port);
	return text_format("%snft insert rule %s %s %s %s dport %u accept",
			   check_at_node(check), text_get(chain, "family"), table, name,
			   packet->protocol, packet->port);
}

static void check_port(struct check *check, const json_t *list,
		       const struct packet *packet)
{
	const struct ruleset ruleset = {list, packet};
	const json_t *chain = find_dropping(&ruleset);

	if (!chain)
		check_pass(check, text_format("no rule keeps out %s to port %u",
					      packet->protocol, packet->port));
	else
		check_warn(check,
			   text_format("chain %s of table %s %s drops %s to port %u",
				       text_get(chain, "name"), text_get(chain, "family"),
				       text_get(chain, "table"), packet->protocol,
				       packet->port),
			   mend_chain(check, chain, packet));
}

/* ---- what nft says ---- */

static void tell_unread(struct check *check, int ret, int status)
{
	if (ret == -ENOENT)
		check_warn(check,
			   text_format("the rules can't be looked at: nft is not "
				       "installed"),
			   text_format("apt install nftables"));
	else if (ret == 0 && geteuid() != 0)
		check_warn(check, text_format("the rules can't be read without root"),
			   check_as_root(check));
	else
		check_warn(check,
			   ret ? text_format("nft: %s", strerror(-ret))
			       : text_format("nft failed with exit status %d", status),
			   text_format("nft list ruleset"));
}

/* NULL: it was said why not. */
static json_t *read_ruleset(struct check *check)
{
	static const char *const argv[] = {"nft", "-j", "list", "ruleset", NULL};
	struct child_reply reply = {.text = NULL};
	int ret = child_run(argv, child_plain_environment, NFT_TIMEOUT_MS, &reply);
	json_t *document = NULL;

	if (!ret && reply.status == 0)
		document = json_loadb(reply.text, reply.length, 0, NULL);
	free(reply.text);
	if (!json_is_array(json_object_get(document, "nftables"))) {
		tell_unread(check, ret, reply.status);
		json_decref(document);
		return NULL;
	}
	return document;
}

void check_firewall(struct check *check)
{
	struct packet packet = {.protocol = "tcp"};
	const struct config_endpoint *listen = &check->rdma->listen;
	const struct sockaddr_in *in = (const void *)&listen->address;
	json_t *document = read_ruleset(check);
	const json_t *list = json_object_get(document, "nftables");

	if (!document)
		return;
	packet.is_ipv6 = listen->address.ss_family == AF_INET6;
	packet.port = ntohs(in->sin_port); /* at the same place in both families */
	check_find_netdev(listen, packet.netdev);
	check_port(check, list, &packet);
	packet.protocol = "udp";
	packet.port = ROCE_PORT;
	check_port(check, list, &packet);
	json_decref(document);
}
