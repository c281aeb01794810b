/*
 * Preloaded into a program, lets one of its allocations fail, and tells at the end which
 * of its own it has not freed. Who asks for that reads and writes a file that is mapped
 * here, whose path is in SHMNET_FAIL_ALLOC; see struct fail_page.
 *
 * Counted are the allocations of all threads and libraries from when this library is
 * initialised. Kept in the books are those that the program itself made, not those of
 * libraries, which may keep what they like.
 */
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <link.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define FRAMES	   24
#define PLACES_MAX 16384
#define BLOCKS_MAX (1u << 16) /* a power of two */

/* All in the byte order of the machine, 8 bytes each. sweep.py reads it. */
struct fail_page {
	_Atomic uint64_t countdown; /* fails the one that makes it 0; 0: none */
	_Atomic uint64_t calls;	    /* so many allocations were there */
	_Atomic uint64_t hits;	    /* so many have failed */
	_Atomic uint64_t unfreed;   /* at the end, of the program's own */
	uint64_t note;		    /* 1: fill `places` */
	uint64_t base;		    /* where the program is loaded */
	uint64_t frames[FRAMES];    /* who called, of the one that failed */
	uint64_t leak[FRAMES];	    /* of those that were not freed, the callers */
	char objects[FRAMES][32];   /* and where `frames` are: names of files */
	/* The number of the first call from each place, a place being a whole stack. */
	uint64_t num_places;
	uint64_t places[PLACES_MAX];
};

struct block {
	uintptr_t address;
	uintptr_t caller;
};

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t number, size_t size);
void *__libc_realloc(void *block, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *block);

static struct fail_page *page;
static uintptr_t program_from, program_to;
static atomic_flag lock = ATOMIC_FLAG_INIT;
static struct block blocks[BLOCKS_MAX];
static uint64_t known[PLACES_MAX * 2];
static __thread bool is_inside;

static void take_lock(void)
{
	while (atomic_flag_test_and_set_explicit(&lock, memory_order_acquire))
		;
}

static void drop_lock(void)
{
	atomic_flag_clear_explicit(&lock, memory_order_release);
}

/* ---- the books ---- */

static unsigned slot_of(uintptr_t address)
{
	return (unsigned)(address >> 4) * 2654435761u & (BLOCKS_MAX - 1);
}

/* Full, it forgets: the tests' nodes have some thousand blocks. */
static void book(void *address, uintptr_t caller)
{
	unsigned slot = slot_of((uintptr_t)address);

	if (!address || caller < program_from || caller >= program_to)
		return;
	take_lock();
	for (unsigned i = 0; i < BLOCKS_MAX; i++) {
		struct block *block = &blocks[(slot + i) & (BLOCKS_MAX - 1)];

		if (block->address > 1)
			continue;
		*block = (struct block){(uintptr_t)address, caller};
		break;
	}
	drop_lock();
}

/* 1 in the place of one that is gone, so that those behind it are found. */
static void unbook(void *address)
{
	unsigned slot = slot_of((uintptr_t)address);

	if (!address)
		return;
	take_lock();
	for (unsigned i = 0; i < BLOCKS_MAX; i++) {
		struct block *block = &blocks[(slot + i) & (BLOCKS_MAX - 1)];

		if (!block->address)
			break;
		if (block->address == (uintptr_t)address) {
			block->address = 1;
			break;
		}
	}
	drop_lock();
}

/* ---- the one that fails ---- */

static uint64_t hash_stack(void *const *frames, int number)
{
	uint64_t hash = 14695981039346656037u;

	for (int i = 0; i < number; i++)
		hash = (hash ^ (uintptr_t)frames[i]) * 1099511628211u;
	return hash ? hash : 1;
}

static void note_place(uint64_t call)
{
	void *frames[FRAMES];
	uint64_t hash = hash_stack(frames, backtrace(frames, FRAMES));
	uint64_t *at;

	take_lock();
	at = &known[hash % (PLACES_MAX * 2)];
	while (*at && *at != hash)
		at = at + 1 == known + PLACES_MAX * 2 ? known : at + 1;
	if (!*at && page->num_places < PLACES_MAX) {
		*at = hash;
		page->places[page->num_places++] = call;
	}
	drop_lock();
}

static void note_failure(void)
{
	void *frames[FRAMES];
	int number = backtrace(frames, FRAMES);
	const char *name;
	Dl_info info;

	for (int i = 0; i < number; i++) {
		page->frames[i] = (uintptr_t)frames[i];
		if (!dladdr(frames[i], &info) || !info.dli_fname)
			continue;
		name = strrchr(info.dli_fname, '/');
		strncpy(page->objects[i], name ? name + 1 : info.dli_fname,
			sizeof(page->objects[i]) - 1);
	}
	atomic_fetch_add(&page->hits, 1);
}

static bool fails_now(void)
{
	uint64_t call, left;

	if (!page || is_inside)
		return false;
	call = atomic_fetch_add(&page->calls, 1) + 1;
	is_inside = true;
	if (page->note)
		note_place(call);
	left = atomic_load(&page->countdown);
	while (left && !atomic_compare_exchange_weak(&page->countdown, &left, left - 1))
		;
	if (left == 1)
		note_failure();
	is_inside = false;
	return left == 1;
}

/* ---- beginning and end ---- */

static int find_program(struct dl_phdr_info *info, size_t size, void *arg)
{
	(void)size;
	(void)arg;
	page->base = info->dlpi_addr;
	program_from = UINTPTR_MAX;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *part = &info->dlpi_phdr[i];
		uintptr_t from = info->dlpi_addr + part->p_vaddr;

		if (part->p_type != PT_LOAD)
			continue;
		if (from < program_from)
			program_from = from;
		if (from + part->p_memsz > program_to)
			program_to = from + part->p_memsz;
	}
	return 1; /* the first one is the program */
}

__attribute__((constructor)) static void begin(void)
{
	const char *path = getenv("SHMNET_FAIL_ALLOC");
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	struct fail_page *mapped;
	void *frames[2];

	if (fd < 0)
		return;
	mapped = mmap(NULL, sizeof(*mapped), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (mapped == MAP_FAILED)
		_exit(125);
	is_inside = true;
	backtrace(frames, 2); /* loads what it needs */
	page = mapped;
	dl_iterate_phdr(find_program, NULL);
	is_inside = false;
}

__attribute__((destructor)) static void end(void)
{
	unsigned shown = 0;

	if (!page)
		return;
	for (unsigned i = 0; i < BLOCKS_MAX; i++) {
		if (blocks[i].address <= 1)
			continue;
		atomic_fetch_add(&page->unfreed, 1);
		if (shown < FRAMES)
			page->leak[shown++] = blocks[i].caller;
	}
	page = NULL;
}

/* ---- what libc calls so ---- */

/* NOLINTBEGIN(readability-inconsistent-declaration-parameter-name) */
#pragma GCC visibility push(default)

void *malloc(size_t size)
{
	void *block = fails_now() ? NULL : __libc_malloc(size);

	if (!block)
		errno = ENOMEM;
	book(block, (uintptr_t)__builtin_return_address(0));
	return block;
}

void *calloc(size_t number, size_t size)
{
	void *block = fails_now() ? NULL : __libc_calloc(number, size);

	if (!block)
		errno = ENOMEM;
	book(block, (uintptr_t)__builtin_return_address(0));
	return block;
}

void *realloc(void *old, size_t size)
{
	void *block;

	if (fails_now()) {
		errno = ENOMEM;
		return NULL;
	}
	unbook(old);
	block = __libc_realloc(old, size);
	book(block, (uintptr_t)__builtin_return_address(0));
	return block;
}

int posix_memalign(void **ret_block, size_t alignment, size_t size)
{
	void *block = fails_now() ? NULL : __libc_memalign(alignment, size);

	if (!block)
		return ENOMEM;
	book(block, (uintptr_t)__builtin_return_address(0));
	*ret_block = block;
	return 0;
}

void *aligned_alloc(size_t alignment, size_t size)
{
	void *block = fails_now() ? NULL : __libc_memalign(alignment, size);

	if (!block)
		errno = ENOMEM;
	book(block, (uintptr_t)__builtin_return_address(0));
	return block;
}

void free(void *block)
{
	int error = errno;

	unbook(block);
	__libc_free(block);
	errno = error;
}

/* NOLINTEND(readability-inconsistent-declaration-parameter-name) */
