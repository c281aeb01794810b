/*
 * What the parts of control's half of the data plane share: plane.c, plane_cast.c for
 * cast rings and plane_command.c for commands. The control thread's, as plane.h.
 */
#ifndef DATA_PLANE_INTERNAL_H
#define DATA_PLANE_INTERNAL_H

#include "data/path_internal.h"
#include "data/worker.h"

/* A port's cast rings. */
struct plane_casts {
	struct cast *by_index[PLANE_CASTS_MAX]; /* NULL: free */
	unsigned last;				/* that was given away */
};

struct plane {
	struct worker *worker;
	uint64_t turns; /* of it, when plane_has_turned() was asked last */
	int event_fd;
	bool is_started;
	unsigned num_ports;
	struct port ports[PLANE_PORTS_MAX];
	unsigned num_links;
	struct link **links;
	struct plane_casts casts[PLANE_PORTS_MAX];
	struct plane_view *view;  /* the worker's */
	struct plane_view *spare; /* nobody's: the next one is made in it */
	struct plane_view views[2];
	struct fabric_source *sources;
	unsigned next_speaker;	     /* the link whose turn it is with its messages */
	unsigned messages_in_row;    /* that control took */
	unsigned misses_in_row;	     /* likewise */
	struct global_state *global; /* NULL: there is no global network */
	struct path_scratch scratch; /* for what is salvaged here */
};

/* Makes a view of what the plane has, and waits until the worker took it up. */
void plane_publish(struct plane *plane);

/* The worker reads the port's cast rings to where they are now, or as far as it gets. */
void plane_drain_casts(struct plane *plane, const struct port *port);

/* Those of the rings that live, to `sum`. */
void plane_add_cast_counters(const struct plane *plane, unsigned port,
			     struct cast_counters *sum);

bool plane_next_cast_fault(struct plane *plane, struct plane_fault *ret_fault);
bool plane_next_want(struct plane *plane, struct plane_fault *ret_fault);
bool plane_next_stranger(struct plane *plane, struct plane_fault *ret_fault);

/* Raises the event: control is to look again, after everything else that it has to do. */
void plane_come_again(struct plane *plane);

/* Makes the port one of a global network. */
int plane_add_global(struct plane *plane, struct port *port,
		     const struct plane_global *spec);
void plane_free_globals(struct plane *plane);

static inline void plane_copy_counters(uint64_t *to, const uint64_t *from, size_t bytes)
{
	for (size_t i = 0; i < bytes / sizeof(*to); i++)
		to[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
}

#endif
