/*
 * Uses its memory in every way that a migration has to follow, and checks each byte of it all the time:
 *
 *   memory-torture PROCESSES THREADS MEGABYTES SEED     (megabytes: of all threads together)
 *
 * Every thread owns blocks of private memory, some of huge pages, and a part of the memory that all processes share. It keeps a
 * version of each page; a page's contents follow from SEED, its place and its version, version 0 being zeros. In turn it writes,
 * grows, shrinks and moves blocks (mremap), gives pages up (madvise), protects and maps anew, forks children that check what they
 * inherited while the parent goes on, and compares: a few pages of others' shared memory, and its own from end to end ("sweep").
 *
 * Five times a second it prints "sweeps S rounds R wrong W": S is what the slowest thread has completed.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
  page_bytes = 4096,
  words = page_bytes / 8,
  huge_pages = 512, /* in a huge page */
  most_processes = 64,
  most_threads = 16,
  blocks = 8,        /* of each thread; the last one asks for huge pages, the first few are resized and moved */
  movable = 4,
  shared_pages = 64, /* of each thread */
  step_pages = 64,   /* compared in one step */
  pause_us = 5000
};

typedef struct {
  uint64_t *base;
  uint32_t *versions; /* of `most` pages */
  size_t pages, most;
} block;

typedef struct { /* seen by all processes */
  atomic_uint_fast64_t rounds, sweeps, wrong;
  atomic_uint versions[shared_pages]; /* odd while its page is being written */
} status;

typedef struct {
  int process, thread;
  uint64_t random;
  block blocks[blocks];
  size_t sweep_block, sweep_page;
} worker;

static int processes, threads;
static size_t pages_each;
static uint64_t seed, *shared; /* shared_pages of each thread */
static status *statuses;

static status *status_of(int process, int thread) { return &statuses[process * threads + thread]; }
static uint64_t *shared_page(int process, int thread, int page) {
  return shared + ((size_t)(process * threads + thread) * shared_pages + page) * words;
}

static uint64_t mix(uint64_t x) { /* splitmix64's finaliser */
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
  x = (x ^ x >> 27) * 0x94d049bb133111ebu;
  return x ^ x >> 31;
}

static uint64_t pick(worker *w, uint64_t below) { return mix(w->random += 0x9e3779b97f4a7c15u) % below; }

/* The place of a page, as a number of its own: blocks of a thread are counted, the shared memory is one more. */
static uint64_t place(int process, int thread, int block, size_t page) {
  return (((uint64_t)process * most_threads + thread) * (blocks + 1) + block) << 32 | page;
}

static void fill(uint64_t *page, uint64_t where, uint32_t version) {
  uint64_t state = mix(seed ^ mix(where) ^ (uint64_t)version << 40) | 1;
  for (int at = 0; at < words; at++) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    page[at] = state;
  }
}

static int is_right(const uint64_t *page, uint64_t where, uint32_t version) {
  uint64_t want[words] = {0};
  if (version) fill(want, where, version);
  return memcmp(page, want, page_bytes) == 0;
}

static void *map(size_t pages, int protection) {
  void *base = mmap(NULL, pages * page_bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (base == MAP_FAILED) perror("mmap"), abort();
  return base;
}

static void must(int result, const char *call) {
  if (result) perror(call), abort();
}

static int is_huge(int number) { return number == blocks - 1; }

/* mremap wants one mapping; where protections differed when a process was restored, the kernel may keep mappings apart for good. */
static int is_movable(int number) { return number < movable; }

static void complain(worker *w, int number, size_t page, const uint64_t *found, uint32_t version) {
  atomic_fetch_add(&status_of(w->process, w->thread)->wrong, 1);
  dprintf(2, "process %d thread %d block %d page %zu at %p is not version %u: %016lx %016lx\n", w->process, w->thread, number, page,
          (void *)found, version, (unsigned long)found[0], (unsigned long)found[1]);
}

/* Compares pages of a block; answers how many are wrong. */
static int compare(worker *w, int number, size_t from, size_t count) {
  block *b = &w->blocks[number];
  int wrong = 0;
  for (size_t page = from; page < from + count && page < b->pages; page++) {
    const uint64_t *found = b->base + page * words;
    if (is_right(found, place(w->process, w->thread, number, page), b->versions[page])) continue;
    complain(w, number, page, found, b->versions[page]);
    wrong++;
  }
  return wrong;
}

static void write_pages(worker *w, int number, size_t from, size_t count) {
  block *b = &w->blocks[number];
  for (size_t page = from; page < from + count && page < b->pages; page++)
    fill(b->base + page * words, place(w->process, w->thread, number, page), ++b->versions[page]);
}

static void create(worker *w, int number) {
  block *b = &w->blocks[number];
  b->pages = is_huge(number) ? (b->most / huge_pages) * huge_pages : b->most / 2 + pick(w, b->most / 4);
  if (is_huge(number)) {
    /* Aligned: twice the space, and the rest given back. */
    char *space = map(b->pages + huge_pages, PROT_READ | PROT_WRITE);
    size_t before = -(uintptr_t)space % (huge_pages * page_bytes);
    if (before) munmap(space, before);
    munmap(space + before + b->pages * page_bytes, (size_t)huge_pages * page_bytes - before);
    b->base = (uint64_t *)(space + before);
    madvise(b->base, b->pages * page_bytes, MADV_HUGEPAGE); /* a kernel without them is no reason to fail */
  } else {
    b->base = map(b->pages, PROT_READ | PROT_WRITE);
  }
  memset(b->versions, 0, b->most * sizeof *b->versions);
  write_pages(w, number, 0, b->pages - b->pages / 8); /* an end that was never touched */
}

static void resize(worker *w, block *b) {
  size_t pages = b->most / 4 + pick(w, b->most * 3 / 4);
  void *moved = mremap(b->base, b->pages * page_bytes, pages * page_bytes, MREMAP_MAYMOVE);
  if (moved == MAP_FAILED) perror("mremap"), abort();
  for (size_t page = pages; page < b->pages; page++) b->versions[page] = 0;
  b->base = moved;
  b->pages = pages;
}

static void move(block *b) {
  void *to = map(b->pages, PROT_NONE);
  if (mremap(b->base, b->pages * page_bytes, b->pages * page_bytes, MREMAP_MAYMOVE | MREMAP_FIXED, to) != to)
    perror("mremap"), abort();
  b->base = to;
}

static void give_up(block *b, size_t from, size_t count) {
  if (count > b->pages - from) count = b->pages - from;
  must(madvise(b->base + from * words, count * page_bytes, MADV_DONTNEED), "madvise");
  memset(b->versions + from, 0, count * sizeof *b->versions);
}

/* Splits the mapping in three, and joins it again. */
static void protect(worker *w, int number, size_t from, size_t count, int protection) {
  block *b = &w->blocks[number];
  if (count > b->pages - from) count = b->pages - from;
  must(mprotect(b->base + from * words, count * page_bytes, protection), "mprotect");
  if (protection == PROT_READ) compare(w, number, from, count);
  else usleep(1000);
  must(mprotect(b->base + from * words, count * page_bytes, PROT_READ | PROT_WRITE), "mprotect");
}

/* A child sees the memory as it was at the fork, whatever the parent writes meanwhile; what it writes is its own. */
static void fork_child(worker *w) {
  pid_t child = fork();
  if (child < 0) return; /* too many processes just now */
  if (child == 0) {
    int wrong = 0;
    for (int turn = 0; turn < 4; turn++) {
      int number = pick(w, blocks);
      size_t from = pick(w, w->blocks[number].pages);
      wrong += compare(w, number, from, step_pages);
      write_pages(w, number, from, 8);
      usleep(pick(w, 20000));
      wrong += compare(w, number, from, step_pages);
    }
    _exit(wrong != 0);
  }
  for (int turn = 0; turn < 4; turn++) {
    int number = pick(w, blocks);
    write_pages(w, number, pick(w, w->blocks[number].pages), 16);
    usleep(5000);
  }
  int ended;
  if (waitpid(child, &ended, 0) != child || ended != 0) {
    atomic_fetch_add(&status_of(w->process, w->thread)->wrong, 1);
    dprintf(2, "process %d thread %d: a child ended with %x\n", w->process, w->thread, ended);
  }
}

static void write_shared(worker *w) {
  int page = pick(w, shared_pages);
  atomic_uint *version = &status_of(w->process, w->thread)->versions[page];
  unsigned next = atomic_load(version) + 2;
  atomic_store(version, next - 1);
  fill(shared_page(w->process, w->thread, page), place(w->process, w->thread, blocks, page), next);
  atomic_store(version, next);
}

/* A page of any thread of any process; one that is written meanwhile says nothing. */
static void compare_shared(worker *w) {
  int process = pick(w, processes), thread = pick(w, threads), page = pick(w, shared_pages);
  atomic_uint *version = &status_of(process, thread)->versions[page];
  unsigned before = atomic_load(version);
  uint64_t copy[words];
  memcpy(copy, shared_page(process, thread, page), sizeof copy);
  atomic_thread_fence(memory_order_seq_cst);
  if (before % 2 || atomic_load(version) != before) return;
  if (!is_right(copy, place(process, thread, blocks, page), before)) complain(w, blocks, page, copy, before);
}

static void sweep(worker *w) {
  compare(w, w->sweep_block, w->sweep_page, step_pages);
  w->sweep_page += step_pages;
  if (w->sweep_page < w->blocks[w->sweep_block].pages) return;
  w->sweep_page = 0;
  if (++w->sweep_block < blocks) return;
  w->sweep_block = 0;
  atomic_fetch_add(&status_of(w->process, w->thread)->sweeps, 1);
}

static void step(worker *w) {
  int number = pick(w, blocks);
  block *b = &w->blocks[number];
  size_t from = pick(w, b->pages), count = 1 + pick(w, step_pages);
  switch (pick(w, 16)) {
    case 0: give_up(b, from, count); break;
    case 1: case 2: if (is_movable(number)) resize(w, b); else protect(w, number, from, count, PROT_READ); break;
    case 3: case 4: if (is_movable(number)) move(b); else protect(w, number, from, count, PROT_NONE); break;
    case 5: if (pick(w, 8) == 0) munmap(b->base, b->pages * page_bytes), create(w, number); break;
    case 6: if (pick(w, 4) == 0) fork_child(w); break;
    case 7: case 8: write_shared(w); break;
    case 9: case 10: compare_shared(w); break;
    default: write_pages(w, number, from, count);
  }
  sweep(w);
  atomic_fetch_add(&status_of(w->process, w->thread)->rounds, 1);
}

static void *work(void *argument) {
  worker *w = argument;
  for (int number = 0; number < blocks; number++) create(w, number);
  for (;;) {
    step(w);
    usleep(pick(w, 2 * pause_us));
  }
  return NULL;
}

static void run_process(int process) {
  static worker workers[most_threads];
  pthread_t thread;
  for (int number = 0; number < threads; number++) {
    worker *w = &workers[number];
    w->process = process;
    w->thread = number;
    w->random = mix(seed ^ place(process, number, 0, 0));
    /* A block has three quarters of its most pages on the whole; the huge ones come in whole huge pages. */
    for (int at = 0; at < blocks; at++) {
      w->blocks[at].most = is_huge(at) ? huge_pages * (1 + pages_each / blocks / huge_pages) : pages_each / blocks * 4 / 3 + 16;
      w->blocks[at].versions = calloc(w->blocks[at].most, sizeof *w->blocks[at].versions);
    }
    if (pthread_create(&thread, NULL, work, w)) perror("pthread_create"), abort();
  }
  pthread_join(thread, NULL);
}

static void *map_shared(size_t bytes) {
  void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED) perror("mmap"), exit(1);
  return base;
}

int main(int argc, char **argv) {
  if (argc != 5) return 2;
  processes = atoi(argv[1]), threads = atoi(argv[2]), seed = strtoull(argv[4], NULL, 10);
  if (processes < 1 || processes > most_processes || threads < 1 || threads > most_threads) return 2;
  size_t all = (size_t)processes * threads;
  pages_each = strtoull(argv[3], NULL, 10) * 256 / all;
  shared = map_shared(all * shared_pages * page_bytes);
  statuses = map_shared(all * sizeof *statuses);
  for (int process = 0; process < processes; process++)
    if (fork() == 0) run_process(process);
  for (;;) {
    uint64_t rounds = 0, sweeps = UINT64_MAX, wrong = 0;
    for (size_t at = 0; at < all; at++) {
      uint64_t own = atomic_load(&statuses[at].sweeps);
      if (own < sweeps) sweeps = own;
      rounds += atomic_load(&statuses[at].rounds);
      wrong += atomic_load(&statuses[at].wrong);
    }
    int ended;
    if (waitpid(-1, &ended, WNOHANG) > 0) return dprintf(2, "a process has ended with status %x\n", ended), 1;
    dprintf(1, "sweeps %lu rounds %lu wrong %lu\n", (unsigned long)sweeps, (unsigned long)rounds, (unsigned long)wrong);
    usleep(200000);
  }
}
