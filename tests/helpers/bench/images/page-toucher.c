/*
 * Times its own page faults: page-toucher PORT MIB PAUSE_US
 *
 * Fills MIB of memory with values made from their address, then touches one page after the other in a random order, PAUSE_US apart,
 * and notes how long each touch took that was a page fault. Who connects to PORT gets the notes as text, after the whole memory was
 * compared with what it must be:
 *
 *   WRONG TOUCHES FAULTS          pages that are wrong, touches so far, faults noted
 *   NANOSECONDS NANOSECONDS       for each fault: when it began (CLOCK_MONOTONIC), how long it took
 */
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { page_bytes = 4096, page_words = page_bytes / 8, most_faults = 1 << 20 };

static struct { uint64_t begin, took; } faults[most_faults];

static uint64_t mix(uint64_t value) { /* splitmix64 */
  value += 0x9e3779b97f4a7c15u;
  value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9u;
  value = (value ^ value >> 27) * 0x94d049bb133111ebu;
  return value ^ value >> 31;
}

static uint64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1000000000ull + time.tv_nsec;
}

static long fault_count(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_minflt + usage.ru_majflt;
}

static void tell(int connection, const volatile uint64_t *memory, size_t pages, uint64_t touches, size_t noted) {
  size_t wrong = 0;
  for (size_t at = 0; at < pages; at++) {
    int right = 1;
    for (size_t word = 0; word < page_words; word++)
      right &= memory[at * page_words + word] == mix(at * page_words + word);
    wrong += !right;
  }
  FILE *out = fdopen(connection, "w");
  if (!out) return;
  fprintf(out, "%zu %llu %zu\n", wrong, (unsigned long long)touches, noted);
  for (size_t at = 0; at < noted; at++)
    fprintf(out, "%llu %llu\n", (unsigned long long)faults[at].begin, (unsigned long long)faults[at].took);
  fclose(out);
}

int main(int argc, char **argv) {
  if (argc != 4) return 2;
  int port = atoi(argv[1]), pause_us = atoi(argv[3]), on = 1;
  size_t pages = (size_t)atoi(argv[2]) << 8, noted = 0;
  volatile uint64_t *memory =
      mmap(NULL, pages * page_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
  if (memory == MAP_FAILED || pages == 0) return 1;
  for (size_t at = 0; at < pages * page_words; at++) memory[at] = mix(at);
  memset(faults, 1, sizeof faults);
  /* Listens only now: whoever can connect knows that the memory is filled. */
  if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 16)) {
    perror("page-toucher");
    return 1;
  }
  for (uint64_t touches = 0;; touches++) {
    size_t at = mix(touches) % pages;
    long before = fault_count();
    uint64_t begin = now();
    uint64_t first = memory[at * page_words];
    uint64_t took = now() - begin;
    if (first != mix(at * page_words)) return 3;
    if (fault_count() != before && noted < most_faults) {
      faults[noted].begin = begin;
      faults[noted++].took = took;
    }
    int connection = accept(listener, NULL, NULL);
    if (connection >= 0) tell(connection, memory, pages, touches, noted);
    usleep(pause_us);
  }
}
