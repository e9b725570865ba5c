/*
 * A server of many processes, each with memory of its own: process-server PORT PROCESSES MIB
 *
 * Every process accepts connections on PORT and answers each line. "check" makes all processes compare their memory with the seed it
 * was made from, and is answered "ok N" with the number of processes whose memory is right; anything else is answered "pong".
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { most_processes = 1024, most_connections = 256, wait_ms = 200, patience_ms = 10000 };

struct shared {
  volatile uint32_t round;                 /* grows with every "check" */
  volatile uint32_t right[most_processes]; /* the last round in which this process found its memory right */
};

static uint64_t next(uint64_t *state) { /* xorshift64 */
  *state ^= *state << 13;
  *state ^= *state >> 7;
  return *state ^= *state << 17;
}

static int memory_is_right(const uint64_t *memory, size_t words, uint64_t seed) {
  for (size_t at = 0; at < words; at++)
    if (memory[at] != next(&seed)) return 0;
  return 1;
}

static void answer(int connection, const char *line, struct shared *shared, int processes, void (*look)(void)) {
  char text[32] = "pong\n";
  if (strncmp(line, "check", 5) == 0) {
    uint32_t round = __sync_add_and_fetch(&shared->round, 1);
    int right = 0;
    for (int waited = 0; waited < patience_ms && right < processes; waited += wait_ms) {
      look();
      right = 0;
      for (int each = 0; each < processes; each++) right += shared->right[each] >= round;
      if (right < processes) usleep(wait_ms * 1000);
    }
    snprintf(text, sizeof text, "ok %d\n", right);
  }
  if (write(connection, text, strlen(text)) < 0) return;
}

static struct shared *shared;
static uint64_t *memory, seed;
static size_t words;
static int self;

static void look(void) {
  uint32_t round = shared->round;
  if (shared->right[self] < round && memory_is_right(memory, words, seed)) shared->right[self] = round;
}

static void serve(int listener, int processes) {
  struct pollfd fds[1 + most_connections] = {{.fd = listener, .events = POLLIN}};
  int used = 1;
  for (;;) {
    fds[0].events = used <= most_connections ? POLLIN : 0;
    poll(fds, used, wait_ms);
    look();
    if (fds[0].revents & POLLIN) {
      int connection = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
      if (connection >= 0) fds[used++] = (struct pollfd){.fd = connection, .events = POLLIN};
    }
    for (int at = used - 1; at > 0; at--) {
      if (!fds[at].revents) continue;
      char line[64] = "";
      ssize_t got = read(fds[at].fd, line, sizeof line - 1);
      if (got > 0) {
        answer(fds[at].fd, line, shared, processes, look);
      } else {
        close(fds[at].fd);
        fds[at] = fds[--used];
      }
    }
  }
}

int main(int argc, char **argv) {
  int port = argc > 1 ? atoi(argv[1]) : 7000, processes = argc > 2 ? atoi(argv[2]) : 1;
  words = (size_t)(argc > 3 ? atoi(argv[3]) : 1) << 17;
  if (processes < 1 || processes > most_processes) return 2;
  shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
  if (shared == MAP_FAILED || bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 128)) {
    perror("process-server");
    return 1;
  }
  for (self = 0; self < processes; self++) {
    if (self + 1 < processes && fork()) continue;
    seed = 0x9e3779b97f4a7c15u * (self + 1);
    memory = mmap(NULL, words * 8, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint64_t state = seed;
    for (size_t at = 0; at < words; at++) memory[at] = next(&state);
    serve(listener, processes);
  }
}
