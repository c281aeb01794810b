/* See qp_loop.h. */
#include "qp_loop.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum armed { ARMED_NOT, ARMED_SOLICITED, ARMED_ALL };

struct sent {
	struct qp_write write;
	uint64_t sum;
	uint8_t inline_bytes[QP_LOOP_INLINE_MAX];
};

struct region {
	uint8_t *base;
	size_t length;
};

struct end {
	struct qp qp; /* first */
	struct qp_loop *loop;
	struct sent *queue;			/* send_depth, by id */
	uint64_t posted, carried, acked, freed; /* ids, each the next one */
	struct qp_done *done;
	size_t done_size, done_first, done_count;
	uint32_t receives;
	uint32_t spare;
	enum armed armed;
	bool is_closed;
	bool has_failed;
	uint64_t failed_id;
	char words[64];
};

struct qp_loop {
	struct end ends[2];
	pthread_mutex_t lock;
	uint64_t random;
	bool is_cut;
	bool spurious_bells;
	bool busy_wire;
	unsigned num_regions;
	struct region regions[QP_LOOP_REGIONS_MAX];
	unsigned owner[QP_LOOP_REGIONS_MAX];
	struct qp_loop_faults faults;
};

static uint64_t next_random(struct qp_loop *loop)
{
	loop->random ^= loop->random << 13;
	loop->random ^= loop->random >> 7;
	loop->random ^= loop->random << 17;
	return loop->random;
}

static struct end *end_of(const struct qp *qp)
{
	return (struct end *)(uintptr_t)qp;
}

static struct end *other(struct end *end)
{
	return &end->loop->ends[end == &end->loop->ends[0]];
}

static unsigned side_of(const struct end *end)
{
	return end != &end->loop->ends[0];
}

static struct sent *sent_at(struct end *end, uint64_t id)
{
	return &end->queue[id % end->qp.send_depth];
}

static uint64_t sum_bytes(const uint8_t *bytes, size_t length)
{
	uint64_t sum = length, word = 0;
	size_t i = 0;

	for (; i + sizeof(word) <= length; i += sizeof(word)) {
		memcpy(&word, bytes + i, sizeof(word));
		sum = (sum ^ word) * 0x9e3779b97f4a7c15ull;
	}
	for (; i < length; i++)
		sum = (sum ^ bytes[i]) * 0x9e3779b97f4a7c15ull;
	return sum;
}

/* ---- completions, with the lock held ---- */

static void ring_bell(struct end *end)
{
	uint64_t one = 1;

	if (write(end->qp.wait_fd, &one, sizeof(one)) < 0)
		abort();
}

static void wake(struct end *end, bool solicited)
{
	if (end->armed == ARMED_ALL || (end->armed == ARMED_SOLICITED && solicited)) {
		end->armed = ARMED_NOT;
		ring_bell(end);
	}
}

static void complete(struct end *end, struct qp_done done, bool solicited)
{
	if (end->done_count == end->done_size)
		abort(); /* it holds all that can be posted */
	end->done[(end->done_first + end->done_count++) % end->done_size] = done;
	wake(end, solicited);
}

static void fail_end(struct end *end, const char *words)
{
	if (end->has_failed)
		return;
	end->has_failed = true;
	end->failed_id = end->acked < end->posted ? end->acked : QP_NO_ID;
	strncpy(end->words, words, sizeof(end->words) - 1);
	wake(end, false); /* as devices do that say as little as they may */
}

/* ---- the wire, with the lock held ---- */

static void check_bytes(struct end *end, const struct sent *sent)
{
	end->loop->faults.changed +=
		sum_bytes(sent->write.local, sent->write.length) != sent->sum;
}

static void tell_imm(struct end *end, uint32_t imm, bool solicited)
{
	if (end->receives == 0) {
		end->loop->faults.rnr++;
		fail_end(end, "no receive");
		return;
	}
	if (--end->receives < end->spare)
		end->spare = end->receives;
	complete(end, (struct qp_done){.kind = QP_DONE_IMM, .imm = imm}, solicited);
}

static void carry_out(struct end *end)
{
	struct qp_loop *loop = end->loop;
	const struct sent *sent = sent_at(end, end->carried++);
	const struct qp_write *write = &sent->write;

	check_bytes(end, sent);
	if (write->length)
		memcpy(loop->regions[write->rkey].base + write->remote, write->local,
		       write->length);
	if (write->flags & QP_IMM)
		tell_imm(other(end), write->imm, write->flags & QP_SOLICITED);
}

static void acknowledge(struct end *end)
{
	const struct sent *sent = sent_at(end, end->acked++);

	check_bytes(end, sent);
	if (sent->write.flags & QP_SIGNALLED)
		complete(end,
			 (struct qp_done){.kind = QP_DONE_SENT, .id = sent->write.id},
			 false);
}

static bool can_carry(struct end *end)
{
	return !end->loop->is_cut && end->carried < end->posted && !end->has_failed &&
	       !other(end)->has_failed;
}

static bool can_acknowledge(const struct end *end)
{
	return !end->loop->is_cut && end->acked < end->carried && !end->has_failed;
}

static bool step_locked(struct qp_loop *loop)
{
	uint64_t random = next_random(loop);
	struct end *end = &loop->ends[random & 1];
	bool moving = false;

	for (unsigned side = 0; side < 2; side++)
		moving |= can_carry(&loop->ends[side]) ||
			  can_acknowledge(&loop->ends[side]);
	if (random >> 1 & 2 && can_carry(end))
		carry_out(end);
	else if (can_acknowledge(end))
		acknowledge(end);
	if (loop->spurious_bells && (random >> 8 & 255) == 0 && !end->is_closed)
		ring_bell(end);
	return moving;
}

/* The wire doesn't wait for who calls an operation. */
static void step_now_and_then(struct qp_loop *loop)
{
	while (loop->busy_wire && next_random(loop) % 2)
		step_locked(loop);
}

/* ---- the operations ---- */

/* Where those bytes of that side are, or NULL. */
static uint8_t *find_bytes(struct qp_loop *loop, unsigned side, uint32_t key)
{
	if (key >= loop->num_regions || loop->owner[key] != side)
		return NULL;
	return loop->regions[key].base;
}

static bool is_registered(struct end *end, const struct qp_write *write)
{
	struct qp_loop *loop = end->loop;
	unsigned side = side_of(end);
	const uint8_t *local = find_bytes(loop, side, write->lkey);

	if (write->length == 0)
		return true;
	if (!find_bytes(loop, !side, write->rkey) ||
	    write->remote + write->length > loop->regions[write->rkey].length)
		return false;
	if (write->flags & QP_INLINE)
		return write->length <= end->qp.max_inline;
	return local && write->local >= local &&
	       write->local + write->length <= local + loop->regions[write->lkey].length;
}

static bool is_sound(const struct end *end, const struct qp_write *write)
{
	if (write->id != end->posted ||
	    (write->flags & QP_SOLICITED && !(write->flags & QP_IMM)))
		return false;
	return write->length > 0 || write->flags & QP_IMM;
}

static int post_one(struct end *end, const struct qp_write *write)
{
	struct qp_loop_faults *faults = &end->loop->faults;
	struct sent *sent = sent_at(end, end->posted);
	bool overfull = end->posted - end->freed == end->qp.send_depth;

	faults->overfull += overfull;
	faults->unlike += !is_sound(end, write);
	faults->foreign += !is_registered(end, write);
	if (overfull || !is_registered(end, write))
		return -EINVAL;
	sent->write = *write;
	if (write->flags & QP_INLINE) {
		memcpy(sent->inline_bytes, write->local, write->length);
		sent->write.local = sent->inline_bytes;
	}
	sent->sum = sum_bytes(sent->write.local, write->length);
	end->posted++;
	return 0;
}

static int loop_post(struct qp *qp, const struct qp_write *list, unsigned count)
{
	struct end *end = end_of(qp);
	int ret = count <= QP_LIST_MAX ? 0 : -EINVAL;

	pthread_mutex_lock(&end->loop->lock);
	if (end->has_failed)
		ret = -EIO;
	for (unsigned i = 0; i < count && ret == 0; i++)
		ret = post_one(end, &list[i]);
	if (ret < 0)
		fail_end(end, "nothing can be posted");
	pthread_mutex_unlock(&end->loop->lock);
	return ret;
}

static int poll_locked(struct end *end, struct qp_done *list, unsigned max)
{
	unsigned n = 0;

	for (; n < max && end->done_count > 0; n++) {
		list[n] = end->done[end->done_first];
		end->done_first = (end->done_first + 1) % end->done_size;
		end->done_count--;
		if (list[n].kind == QP_DONE_SENT)
			end->freed = list[n].id + 1;
		else
			end->receives++;
	}
	return n == 0 && end->has_failed ? -EIO : (int)n;
}

static int loop_poll(struct qp *qp, struct qp_done *list, unsigned max)
{
	struct end *end = end_of(qp);
	int n;

	pthread_mutex_lock(&end->loop->lock);
	step_now_and_then(end->loop);
	n = poll_locked(end, list, max);
	step_now_and_then(end->loop);
	pthread_mutex_unlock(&end->loop->lock);
	return n;
}

static int loop_arm(struct qp *qp, bool all)
{
	struct end *end = end_of(qp);
	int ret;

	pthread_mutex_lock(&end->loop->lock);
	step_now_and_then(end->loop);
	if (end->armed != ARMED_ALL)
		end->armed = all ? ARMED_ALL : ARMED_SOLICITED;
	step_now_and_then(end->loop);
	ret = end->has_failed ? -EIO : 0;
	pthread_mutex_unlock(&end->loop->lock);
	return ret;
}

static void loop_drain(struct qp *qp)
{
	uint64_t bells;

	if (read(qp->wait_fd, &bells, sizeof(bells)) < 0 && errno != EAGAIN)
		abort();
}

static const char *loop_why(const struct qp *qp, uint64_t *ret_id)
{
	struct end *end = end_of(qp);

	pthread_mutex_lock(&end->loop->lock);
	*ret_id = end->failed_id;
	pthread_mutex_unlock(&end->loop->lock);
	return end->words;
}

static void loop_close(struct qp *qp)
{
	struct end *end = end_of(qp);

	pthread_mutex_lock(&end->loop->lock);
	end->is_closed = true;
	end->loop->is_cut = true;
	close(qp->wait_fd);
	pthread_mutex_unlock(&end->loop->lock);
}

static const struct qp_ops loop_ops = {
	.post = loop_post,
	.poll = loop_poll,
	.arm = loop_arm,
	.drain = loop_drain,
	.why = loop_why,
	.close = loop_close,
};

bool qp_loop_step(struct qp_loop *loop)
{
	bool moving;

	pthread_mutex_lock(&loop->lock);
	moving = step_locked(loop);
	pthread_mutex_unlock(&loop->lock);
	return moving;
}

void qp_loop_settle(struct qp_loop *loop)
{
	while (qp_loop_step(loop))
		;
}

/* ---- the test's side ---- */

static int end_open(struct end *end, struct qp_loop *loop,
		    const struct qp_loop_options *options)
{
	end->loop = loop;
	end->qp = (struct qp){
		.ops = &loop_ops,
		.wait_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
		.send_depth = options->send_depth,
		.receive_depth = options->receive_depth,
		.max_inline = options->max_inline,
	};
	end->is_closed = end->qp.wait_fd < 0;
	end->receives = end->spare = options->receive_depth;
	end->done_size = options->send_depth + options->receive_depth;
	end->done = calloc(end->done_size, sizeof(*end->done));
	end->queue = calloc(options->send_depth, sizeof(*end->queue));
	return end->is_closed || !end->done || !end->queue ? -ENOMEM : 0;
}

int qp_loop_new(const struct qp_loop_options *options, struct qp_loop **ret_loop)
{
	struct qp_loop *loop = calloc(1, sizeof(*loop));

	if (!loop)
		return -ENOMEM;
	pthread_mutex_init(&loop->lock, NULL);
	loop->random = options->seed | 1;
	loop->spurious_bells = options->spurious_bells;
	loop->busy_wire = options->busy_wire;
	if (end_open(&loop->ends[0], loop, options) < 0 ||
	    end_open(&loop->ends[1], loop, options) < 0) {
		qp_loop_free(loop);
		return -ENOMEM;
	}
	*ret_loop = loop;
	return 0;
}

void qp_loop_free(struct qp_loop *loop)
{
	if (!loop)
		return;
	for (unsigned side = 0; side < 2; side++) {
		free(loop->ends[side].queue);
		free(loop->ends[side].done);
	}
	pthread_mutex_destroy(&loop->lock);
	free(loop);
}

struct qp *qp_loop_end(struct qp_loop *loop, unsigned side)
{
	return &loop->ends[side].qp;
}

uint32_t qp_loop_register(struct qp_loop *loop, unsigned side, void *base, size_t length)
{
	uint32_t key;

	pthread_mutex_lock(&loop->lock);
	if (loop->num_regions == QP_LOOP_REGIONS_MAX)
		abort();
	key = loop->num_regions++;
	loop->regions[key] = (struct region){base, length};
	loop->owner[key] = side;
	pthread_mutex_unlock(&loop->lock);
	return key;
}

void qp_loop_fail(struct qp_loop *loop, unsigned side, const char *words)
{
	pthread_mutex_lock(&loop->lock);
	fail_end(&loop->ends[side], words);
	pthread_mutex_unlock(&loop->lock);
}

void qp_loop_cut(struct qp_loop *loop)
{
	pthread_mutex_lock(&loop->lock);
	loop->is_cut = true;
	pthread_mutex_unlock(&loop->lock);
}

void qp_loop_inject(struct qp_loop *loop, unsigned side, uint32_t imm)
{
	pthread_mutex_lock(&loop->lock);
	tell_imm(&loop->ends[side], imm, true);
	pthread_mutex_unlock(&loop->lock);
}

struct qp_loop_faults qp_loop_faults(struct qp_loop *loop)
{
	struct qp_loop_faults faults;

	pthread_mutex_lock(&loop->lock);
	faults = loop->faults;
	pthread_mutex_unlock(&loop->lock);
	return faults;
}

uint32_t qp_loop_spare(struct qp_loop *loop, unsigned side)
{
	uint32_t spare;

	pthread_mutex_lock(&loop->lock);
	spare = loop->ends[side].spare;
	pthread_mutex_unlock(&loop->lock);
	return spare;
}
