/*
 * The order of decisions. First a table that says for each state of the connection table
 * and each kind of packet what happens, if nothing else is known; then each step alone.
 *
 * Node 1 is this one. What comes out is written as "kernel, asks: 3 flow +table +told":
 * the kernel was looked at, the members were asked, and then: the owner, or the reason
 * of the drop, what the data plane keeps, and what follows.
 */
#include "control/resolve.h"
#include "shim.h"

#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#define SELF 1

/* All that resolve.c can ask. */
struct facts {
	/* The connection table. */
	uint16_t owner; /* 0: no entry */
	uint32_t made_s, heard_s;
	enum resolve_member owner_is;
	/* Our own kernel. */
	int exact;
	bool is_over;
	bool is_half;
	/* The others. */
	unsigned others;
	enum resolve_answer answer;
	uint16_t answered_by;
	bool is_unsure;
	/* Who would take it, by enum resolve_match: ids, 0 ends. */
	uint16_t candidates[3][4];
	bool is_flooded;
	uint16_t policy; /* chooses this one */

	bool may_look;	   /* for listeners, once more */
	uint16_t newcomer; /* begins to listen when they do; 0: nobody */

	bool looked, asked; /* what was done */
	bool was_settled;   /* is_unsure ends while they are asked */
};

static bool on_table(void *arg, const struct flow_key *key,
		     struct flowtable_entry *ret_entry)
{
	const struct facts *facts = arg;

	*ret_entry = (struct flowtable_entry){.key = *key,
					      .owner = facts->owner,
					      .made_s = facts->made_s,
					      .heard_s = facts->heard_s};
	return facts->owner != 0;
}

static int on_kernel(void *arg, const struct flow_key *key,
		     struct socket_match *ret_match)
{
	struct facts *facts = arg;

	(void)key;
	facts->looked = true;
	ret_match->is_over = facts->is_over;
	ret_match->is_half = facts->is_half;
	return facts->exact;
}

static unsigned on_count_others(void *arg)
{
	return ((struct facts *)arg)->others;
}

static enum resolve_member on_member(void *arg, uint16_t node_id)
{
	(void)node_id;
	return ((struct facts *)arg)->owner_is;
}

static bool on_is_unsure(void *arg)
{
	return ((struct facts *)arg)->is_unsure;
}

static unsigned on_candidates(void *arg, const struct flow_key *key,
			      enum resolve_match match,
			      struct balance_node nodes[BALANCE_NODES_MAX])
{
	const struct facts *facts = arg;
	unsigned num = 0;

	(void)key;
	for (; num < 4 && facts->candidates[match][num]; num++)
		nodes[num] = (struct balance_node){.id = facts->candidates[match][num],
						   .weight = 1};
	return num;
}

static uint16_t on_choose(void *arg, const struct flow_key *key,
			  const struct balance_node *nodes, unsigned num)
{
	const struct facts *facts = arg;

	(void)key;
	return num == 1 ? nodes[0].id : facts->policy;
}

static bool on_is_flooded(void *arg)
{
	return ((struct facts *)arg)->is_flooded;
}

static bool on_look(void *arg)
{
	struct facts *facts = arg;

	if (facts->may_look && facts->others == 0)
		facts->candidates[RESOLVE_MATCH_ANY][0] = facts->newcomer;
	return facts->may_look;
}

static const char *on_name(void *arg, uint16_t node_id)
{
	static const char *const names[] = {"?", "n1", "n2", "n3", "n4"};

	(void)arg;
	return names[node_id < 5 ? node_id : 0];
}

static const struct resolve_ops ops = {
	.table = on_table,
	.kernel = on_kernel,
	.count_others = on_count_others,
	.member = on_member,
	.is_unsure = on_is_unsure,
	.candidates = on_candidates,
	.choose = on_choose,
	.is_flooded = on_is_flooded,
	.look = on_look,
	.name = on_name,
};

/* One whose hash gives it to `owner` of nodes 2, 3 and 4. */
static struct flow_key key_for(uint16_t owner)
{
	const struct balance_node nodes[] = {
		{.id = 2, .weight = 1}, {.id = 3, .weight = 1}, {.id = 4, .weight = 1}};
	struct flow_key key = {.protocol = IPPROTO_TCP, .local_port = 80};

	while (balance_hash(&key, nodes, 3) != owner)
		key.foreign_port++;
	return key;
}

static void write_outcome(const struct facts *facts, const struct resolve *resolve,
			  char text[128])
{
	static const char *const keeps[] = {"not", "flow", "datagram", "short"};
	char who[32];

	if (resolve->verdict.owner)
		snprintf(who, sizeof(who), "%u", resolve->verdict.owner);
	else
		snprintf(who, sizeof(who), "%s",
			 drop_reason_name(resolve->verdict.reason));
	snprintf(text, 128, "%s%s%s %s%s%s%s%s", facts->looked ? "kernel, " : "",
		 facts->asked ? "asks: " : "", who, keeps[resolve->verdict.keep],
		 resolve->enters ? " +table" : "", resolve->hears ? " +heard" : "",
		 resolve->is_placed ? " +told" : "", resolve->is_hashed ? " +hash" : "");
}

static const char *decide(struct facts facts, enum resolve_class class, uint16_t hash)
{
	static char text[128];
	const struct flow_key key = key_for(hash);
	struct resolve resolve;

	resolve_start(&resolve, &ops, &facts, SELF, &key, class);
	if (resolve_run(&resolve) == RESOLVE_ASK) {
		facts.asked = true;
		if (facts.was_settled)
			facts.is_unsure = false;
		if (facts.newcomer)
			facts.candidates[RESOLVE_MATCH_ANY][0] = facts.newcomer;
		resolve_answered(&resolve, facts.answer, facts.answered_by);
		CHECK_INT(resolve_run(&resolve), RESOLVE_DECIDED);
	}
	write_outcome(&facts, &resolve, text);
	return text;
}

/* ---- the table ---- */

/* The states of the connection table; its entry names node 3. */
static const struct state {
	const char *name;
	uint16_t owner;
	uint32_t made_s, heard_s;
	enum resolve_member owner_is;
} states[] = {
	{"no entry", 0, 0, 0, RESOLVE_MEMBER_GONE},
	{"fresh", 3, 9, 9, RESOLVE_MEMBER_UP},
	{"in use", 3, 10, 59, RESOLVE_MEMBER_UP},
	{"old", 3, 60, 60, RESOLVE_MEMBER_UP},
	{"owner suspect or freshly down", 3, 9, 9, RESOLVE_MEMBER_UNSURE},
	{"owner gone", 3, 9, 9, RESOLVE_MEMBER_GONE},
};
#define NUM_STATES (sizeof(states) / sizeof(states[0]))

/*
 * Nodes 2 and 4 listen, the policy wants 4, the hash 2; nobody has the connection.
 */
static const char *const outcomes[NUM_STATES][RESOLVE_CLASS_NUM_] = {
	/* no entry */
	{
		[RESOLVE_OPENER] = "4 flow +table +told",
		[RESOLVE_DATAGRAM] = "kernel, asks: 2 datagram",
		[RESOLVE_SEGMENT] = "kernel, asks: 1 not",
		[RESOLVE_ERROR] = "kernel, asks: no-owner short",
		[RESOLVE_ERROR_DATAGRAM] = "kernel, asks: 2 datagram",
		[RESOLVE_PAIR] = "2 datagram",
	},
	/* fresh */
	{
		[RESOLVE_OPENER] = "3 flow +heard",
		[RESOLVE_DATAGRAM] = "3 datagram +heard",
		[RESOLVE_SEGMENT] = "3 flow +heard",
		[RESOLVE_ERROR] = "3 flow +heard",
		[RESOLVE_ERROR_DATAGRAM] = "3 datagram +heard",
		[RESOLVE_PAIR] = "2 datagram",
	},
	/* in use: an opener may be that of the next connection */
	{
		[RESOLVE_OPENER] = "kernel, asks: 4 flow +table +told",
		[RESOLVE_DATAGRAM] = "kernel, asks: 2 datagram",
		[RESOLVE_SEGMENT] = "3 flow +heard",
		[RESOLVE_ERROR] = "3 flow +heard",
		[RESOLVE_ERROR_DATAGRAM] = "kernel, asks: 2 datagram",
		[RESOLVE_PAIR] = "2 datagram",
	},
	/* old */
	{
		[RESOLVE_OPENER] = "kernel, asks: 4 flow +table +told",
		[RESOLVE_DATAGRAM] = "kernel, asks: 2 datagram",
		[RESOLVE_SEGMENT] = "kernel, asks: 1 not",
		[RESOLVE_ERROR] = "kernel, asks: no-owner short",
		[RESOLVE_ERROR_DATAGRAM] = "kernel, asks: 2 datagram",
		[RESOLVE_PAIR] = "2 datagram",
	},
	/* owner suspect or freshly down: what may open goes elsewhere, the rest waits */
	{
		[RESOLVE_OPENER] = "4 flow +table +told",
		[RESOLVE_DATAGRAM] = "2 datagram",
		[RESOLVE_SEGMENT] = "no-owner short",
		[RESOLVE_ERROR] = "no-owner short",
		[RESOLVE_ERROR_DATAGRAM] = "2 datagram",
		[RESOLVE_PAIR] = "2 datagram",
	},
	/* owner gone: as if there were no entry */
	{
		[RESOLVE_OPENER] = "4 flow +table +told",
		[RESOLVE_DATAGRAM] = "kernel, asks: 2 datagram",
		[RESOLVE_SEGMENT] = "kernel, asks: 1 not",
		[RESOLVE_ERROR] = "kernel, asks: no-owner short",
		[RESOLVE_ERROR_DATAGRAM] = "kernel, asks: 2 datagram",
		[RESOLVE_PAIR] = "2 datagram",
	},
};

static const struct facts two_listen = {
	.others = 3,
	.answer = RESOLVE_ANSWER_NO,
	.candidates = {[RESOLVE_MATCH_ANY] = {2, 4}, [RESOLVE_MATCH_NODE] = {2, 3, 4}},
	.policy = 4,
};

static const char *const classes[] = {"opener", "datagram",	     "segment",
				      "error",	"error of datagram", "pair"};

TEST_CASE(resolve, every_state_of_the_table_and_every_kind)
{
	for (unsigned i = 0; i < NUM_STATES; i++) {
		for (unsigned class = 0; class < RESOLVE_CLASS_NUM_; class ++) {
			struct facts facts = two_listen;

			facts.owner = states[i].owner;
			facts.made_s = states[i].made_s;
			facts.heard_s = states[i].heard_s;
			facts.owner_is = states[i].owner_is;
			if (!CHECK_STR(decide(facts, (enum resolve_class) class, 2),
				       outcomes[i][class]))
				fprintf(stderr, "%s, %s\n", states[i].name,
					classes[class]);
		}
	}
}

/* ---- step by step ---- */

static struct facts with_entry(uint32_t made_s)
{
	struct facts facts = two_listen;

	facts.owner = 3;
	facts.made_s = facts.heard_s = made_s;
	facts.owner_is = RESOLVE_MEMBER_UP;
	return facts;
}

TEST_CASE(resolve, own_kernel)
{
	struct facts facts = two_listen;

	facts.exact = 1;
	CHECK_STR(decide(facts, RESOLVE_SEGMENT, 2), "kernel, 1 flow +table");
	CHECK_STR(decide(facts, RESOLVE_ERROR, 2), "kernel, 1 flow +table");
	CHECK_STR(decide(facts, RESOLVE_DATAGRAM, 2), "kernel, 1 datagram +table");
	CHECK_STR(decide(facts, RESOLVE_ERROR_DATAGRAM, 2), "kernel, 1 datagram +table");
	/* Nothing says that an opener is of an old connection. */
	CHECK_STR(decide(facts, RESOLVE_OPENER, 2), "4 flow +table +told");
	facts = with_entry(10);
	facts.exact = 1;
	CHECK_STR(decide(facts, RESOLVE_OPENER, 2), "kernel, 1 flow +table");
}

/* TIME_WAIT answers the last packets, and is in no opener's way. */
TEST_CASE(resolve, own_kernel_remembers)
{
	struct facts facts = with_entry(60);

	facts.exact = 1;
	facts.is_over = true;
	CHECK_STR(decide(facts, RESOLVE_SEGMENT, 2), "kernel, 1 flow +table");
	CHECK_STR(decide(facts, RESOLVE_OPENER, 2), "kernel, asks: 4 flow +table +told");
}

/* The client may have the answer of another one. */
TEST_CASE(resolve, own_kernel_has_answered_an_opener)
{
	struct facts facts = with_entry(60);

	facts.exact = 1;
	facts.is_half = true;
	CHECK_STR(decide(facts, RESOLVE_OPENER, 2), "kernel, 1 flow +table");
	CHECK_STR(decide(facts, RESOLVE_SEGMENT, 2), "kernel, asks: 1 not");
	facts.is_unsure = true;
	CHECK_STR(decide(facts, RESOLVE_SEGMENT, 2), "kernel, asks: no-owner short");
	facts.owner = SELF;
	CHECK_STR(decide(facts, RESOLVE_SEGMENT, 2), "kernel, asks: 1 not");
	facts.answer = RESOLVE_ANSWER_YES;
	facts.answered_by = 3;
	CHECK_STR(decide(facts, RESOLVE_SEGMENT, 2), "kernel, asks: 3 flow +table");
	facts.answer = RESOLVE_ANSWER_SILENT;
	CHECK_STR(decide(facts, RESOLVE_SEGMENT, 2), "kernel, asks: no-owner short");
	facts.others = 0;
	CHECK_STR(decide(facts, RESOLVE_SEGMENT, 2), "kernel, 1 not");
}

TEST_CASE(resolve, own_kernel_fails)
{
	struct facts facts = two_listen;

	facts.exact = -12;
	CHECK_STR(decide(facts, RESOLVE_SEGMENT, 2), "kernel, asks: 1 not");
}

TEST_CASE(resolve, another_member_has_it)
{
	struct facts facts = two_listen;

	facts.answer = RESOLVE_ANSWER_YES;
	facts.answered_by = 3;
	CHECK_STR(decide(facts, RESOLVE_SEGMENT, 2), "kernel, asks: 3 flow +table");
	CHECK_STR(decide(facts, RESOLVE_ERROR, 2), "kernel, asks: 3 flow +table");
	CHECK_STR(decide(facts, RESOLVE_DATAGRAM, 2), "kernel, asks: 3 datagram +table");
	CHECK_STR(decide(facts, RESOLVE_OPENER, 2), "4 flow +table +told");
	facts = with_entry(10);
	facts.answer = RESOLVE_ANSWER_YES;
	facts.answered_by = 4;
	CHECK_STR(decide(facts, RESOLVE_OPENER, 2), "kernel, asks: 4 flow +table");
}

TEST_CASE(resolve, somebody_does_not_answer)
{
	struct facts facts = two_listen;

	facts.answer = RESOLVE_ANSWER_SILENT;
	CHECK_STR(decide(facts, RESOLVE_SEGMENT, 2), "kernel, asks: no-owner short");
	CHECK_STR(decide(facts, RESOLVE_ERROR, 2), "kernel, asks: no-owner short");
	CHECK_STR(decide(facts, RESOLVE_DATAGRAM, 2), "kernel, asks: 2 datagram");
	CHECK_STR(decide(facts, RESOLVE_ERROR_DATAGRAM, 2), "kernel, asks: 2 datagram");
}

/* Too many questions: nothing is kept, so that the next packet may ask. */
TEST_CASE(resolve, nobody_can_be_asked_now)
{
	struct facts facts = two_listen;

	facts.answer = RESOLVE_ANSWER_BUSY;
	CHECK_STR(decide(facts, RESOLVE_SEGMENT, 2), "kernel, asks: no-owner not");
	CHECK_STR(decide(facts, RESOLVE_DATAGRAM, 2), "kernel, asks: 2 datagram");
	facts = with_entry(10);
	facts.answer = RESOLVE_ANSWER_BUSY;
	CHECK_STR(decide(facts, RESOLVE_OPENER, 2), "kernel, asks: 2 flow +hash");
}

TEST_CASE(resolve, there_are_no_others)
{
	struct facts facts = two_listen;

	facts.others = 0;
	CHECK_STR(decide(facts, RESOLVE_SEGMENT, 2), "kernel, 1 not");
	CHECK_STR(decide(facts, RESOLVE_DATAGRAM, 2), "kernel, 2 datagram");
}

/* A server that waits for one certain peer goes before one that waits for all. */
TEST_CASE(resolve, local_address_wildcarded)
{
	struct facts facts = two_listen;

	facts.candidates[RESOLVE_MATCH_PEER][0] = 3;
	CHECK_STR(decide(facts, RESOLVE_OPENER, 2), "3 flow +table +told");
	CHECK_STR(decide(facts, RESOLVE_DATAGRAM, 2), "kernel, asks: 3 datagram");
	CHECK_STR(decide(facts, RESOLVE_SEGMENT, 2), "kernel, asks: 1 not");
	facts.candidates[RESOLVE_MATCH_PEER][1] = 4;
	CHECK_STR(decide(facts, RESOLVE_OPENER, 2), "4 flow +table +told");
}

TEST_CASE(resolve, foreign_part_dropped)
{
	struct facts facts = two_listen;

	CHECK_STR(decide(facts, RESOLVE_OPENER, 2), "4 flow +table +told");
	facts.candidates[RESOLVE_MATCH_ANY][1] = 0; /* one match: no policy */
	CHECK_STR(decide(facts, RESOLVE_OPENER, 2), "2 flow +table +told");
	facts.candidates[RESOLVE_MATCH_ANY][0] = 0;
	CHECK_STR(decide(facts, RESOLVE_OPENER, 2), "no-listener short");
	CHECK_STR(decide(facts, RESOLVE_DATAGRAM, 2), "kernel, asks: no-listener short");
	CHECK_STR(decide(facts, RESOLVE_ERROR_DATAGRAM, 2),
		  "kernel, asks: no-owner short");
}

/* New ones by hash, without memory; what was placed so is found the same way. */
TEST_CASE(resolve, flood)
{
	struct facts facts = two_listen;

	facts.is_flooded = true;
	CHECK_STR(decide(facts, RESOLVE_OPENER, 2), "2 flow +hash");
	CHECK_STR(decide(facts, RESOLVE_SEGMENT, 2), "kernel, asks: 2 not");
	CHECK_STR(decide(facts, RESOLVE_ERROR, 2), "kernel, asks: no-owner short");
	facts.is_unsure = true;
	CHECK_STR(decide(facts, RESOLVE_SEGMENT, 2), "kernel, asks: no-owner short");
	facts = with_entry(9);
	facts.is_flooded = true;
	CHECK_STR(decide(facts, RESOLVE_OPENER, 2), "3 flow +heard");
	CHECK_STR(decide(facts, RESOLVE_SEGMENT, 2), "3 flow +heard");
	facts.owner = 0;
	facts.candidates[RESOLVE_MATCH_ANY][0] = 0;
	CHECK_STR(decide(facts, RESOLVE_SEGMENT, 2), "kernel, asks: 1 not");
}

TEST_CASE(resolve, pair)
{
	struct facts facts = two_listen;

	memset(facts.candidates, 0, sizeof(facts.candidates));
	CHECK_STR(decide(facts, RESOLVE_PAIR, 2), "no-listener short");
	facts.candidates[RESOLVE_MATCH_NODE][0] = 4;
	CHECK_STR(decide(facts, RESOLVE_PAIR, 2), "4 datagram");
}

/* A segment that nobody has is reset, unless somebody may have it. */
TEST_CASE(resolve, none)
{
	struct facts facts = two_listen;

	CHECK_STR(decide(facts, RESOLVE_SEGMENT, 2), "kernel, asks: 1 not");
	facts.is_unsure = true;
	CHECK_STR(decide(facts, RESOLVE_SEGMENT, 2), "kernel, asks: no-owner short");
	/* It was not asked: that it may be asked now is too late. */
	facts.was_settled = true;
	CHECK_STR(decide(facts, RESOLVE_SEGMENT, 2), "kernel, asks: no-owner short");
}

TEST_CASE(resolve, classes_of_packets)
{
	static const struct {
		enum flow_kind kind;
		uint8_t protocol;
		bool is_resolved;
		enum resolve_class class;
	} rows[] = {
		{FLOW_OPENER, IPPROTO_TCP, true, RESOLVE_OPENER},
		{FLOW_OPENER, IPPROTO_SCTP, true, RESOLVE_OPENER},
		{FLOW_DATAGRAM, IPPROTO_UDP, true, RESOLVE_DATAGRAM},
		{FLOW_SEGMENT, IPPROTO_TCP, true, RESOLVE_SEGMENT},
		{FLOW_ERROR, IPPROTO_TCP, true, RESOLVE_ERROR},
		{FLOW_ERROR, IPPROTO_SCTP, true, RESOLVE_ERROR},
		{FLOW_ERROR, IPPROTO_UDP, true, RESOLVE_ERROR_DATAGRAM},
		{FLOW_ERROR, IPPROTO_UDPLITE, true, RESOLVE_ERROR_DATAGRAM},
		{FLOW_ERROR, IPPROTO_GRE, true, RESOLVE_PAIR},
		{FLOW_PAIR, IPPROTO_GRE, true, RESOLVE_PAIR},
		{FLOW_ECHO, IPPROTO_ICMP, false, 0},
		{FLOW_REPLY, IPPROTO_ICMP, false, 0},
		{FLOW_FRAGMENT, IPPROTO_UDP, false, 0},
	};

	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct flow_packet packet = {.kind = rows[i].kind,
						   .key = {.protocol = rows[i].protocol}};
		enum resolve_class class = 0;

		CHECK_INT(resolve_class_of(&packet, &class), rows[i].is_resolved);
		CHECK_INT(class, rows[i].class);
	}
}

/* ---- who has just begun to listen ---- */

TEST_CASE(resolve, who_has_just_begun_to_listen_is_found_by_another_look)
{
	struct facts facts = {.others = 3,
			      .answer = RESOLVE_ANSWER_NO,
			      .may_look = true,
			      .newcomer = 3,
			      .policy = 3};

	CHECK_STR(decide(facts, RESOLVE_OPENER, 2), "asks: 3 flow +table +told");
	CHECK_STR(decide(facts, RESOLVE_DATAGRAM, 2), "kernel, asks: 3 datagram");
	facts.answer = RESOLVE_ANSWER_SILENT;
	CHECK_STR(decide(facts, RESOLVE_OPENER, 2), "asks: 3 flow +table +told");
	facts.others = 0;
	CHECK_STR(decide(facts, RESOLVE_OPENER, 2), "3 flow +table +told");
	facts.may_look = false; /* that was done just now */
	CHECK_STR(decide(facts, RESOLVE_OPENER, 2), "no-listener short");
}

TEST_CASE(resolve, nobody_listens_after_another_look_either)
{
	const struct facts facts = {
		.others = 3, .answer = RESOLVE_ANSWER_NO, .may_look = true};

	CHECK_STR(decide(facts, RESOLVE_OPENER, 2), "asks: no-listener short");
	CHECK_STR(decide(facts, RESOLVE_DATAGRAM, 2), "kernel, asks: no-listener short");
}

/* Its pin was lost, and no listener is left. */
TEST_CASE(resolve, a_member_that_has_it_is_found_by_another_look)
{
	const struct facts facts = {.others = 3,
				    .answer = RESOLVE_ANSWER_YES,
				    .answered_by = 4,
				    .may_look = true};

	CHECK_STR(decide(facts, RESOLVE_OPENER, 2), "asks: 4 flow +table");
}
