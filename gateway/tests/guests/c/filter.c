/* The filter of ../README.md in C, straight on the ABI: no SDK, nothing but libc. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy_wasm.h"

enum { TICK_MS = 20, CALL_TIMEOUT_MS = 5000 };

/* Bytes of ours; `data` ends in a NUL that `size` does not count, or is null. */
struct text {
  char *data;
  size_t size;
};

struct plugin {
  struct plugin *next;
  uint32_t id, requests;
  char tag[64], deny[256], auth[64];
};

/* A call that some stream waits for. */
struct call {
  struct call *next;
  uint32_t id, stream;
};

/* A stream and whose it is. */
struct stream {
  struct stream *next;
  uint32_t id;
  struct plugin *plugin;
};

static struct plugin *plugins;
static struct stream *streams;
static struct call *calls;

/* The host's results lie here. */
void *PROXY_WASM_EXPORT(proxy_on_memory_allocate)(size_t size) { return malloc(size); }
void PROXY_WASM_EXPORT(proxy_abi_version_0_2_1)(void) {}

static void say(enum proxy_log_level level, const char *text) { proxy_log(level, text, strlen(text)); }

/* A copy with a NUL behind it, in place of what the host gave. */
static struct text owned(uint32_t status, char *data, size_t size) {
  struct text text = {0};
  if (status == PROXY_OK && (text.data = malloc(size + 1)) != NULL) {
    if (size > 0) memcpy(text.data, data, size);
    text.data[text.size = size] = 0;
  }
  free(data);
  return text;
}

static struct text header(enum proxy_map map, const char *name) {
  char *data = NULL;
  size_t size = 0;
  uint32_t status = proxy_get_header_map_value(map, name, strlen(name), &data, &size);
  return owned(status, data, size);
}

static struct text buffer(enum proxy_buffer kind, size_t max) {
  char *data = NULL;
  size_t size = 0;
  uint32_t status = proxy_get_buffer_bytes(kind, 0, max, &data, &size);
  return owned(status, data, size);
}

/* `path` with the NULs between its segments; `size` leaves out the last. */
static struct text property(const char *path, size_t size) {
  char *data = NULL;
  size_t got = 0;
  uint32_t status = proxy_get_property(path, size, &data, &got);
  return owned(status, data, got);
}

static void set(enum proxy_map map, const char *name, const char *value) {
  proxy_replace_header_map_value(map, name, strlen(name), value, strlen(value));
}

static void add(enum proxy_map map, const char *name, const char *value) {
  proxy_add_header_map_value(map, name, strlen(name), value, strlen(value));
}

static void unset(enum proxy_map map, const char *name) { proxy_remove_header_map_value(map, name, strlen(name)); }

/* Header pairs in wire form: count, lengths, then names and values with a NUL behind each. */
static size_t serialize(char *out, const char *pairs[][2], uint32_t count) {
  uint32_t *lengths = (uint32_t *)out;
  char *at = out + 4 + 8 * count;
  *lengths++ = count;
  for (uint32_t pair = 0; pair < count; pair++) {
    for (int part = 0; part < 2; part++) {
      size_t size = strlen(pairs[pair][part]);
      *lengths++ = size;
      memcpy(at, pairs[pair][part], size + 1);
      at += size + 1;
    }
  }
  return at - out;
}

static void answer(uint32_t status, const char *body) {
  const char *pairs[][2] = {{"x-denied-by", "c"}};
  _Alignas(4) char headers[64];
  size_t size = serialize(headers, pairs, 1);
  proxy_send_local_response(status, "denied by guest", 15, body, strlen(body), headers, size, -1);
}

static struct plugin *plugin_of(uint32_t stream) {
  struct stream *found = streams;
  while (found != NULL && found->id != stream) found = found->next;
  return found == NULL ? NULL : found->plugin;
}

void PROXY_WASM_EXPORT(proxy_on_context_create)(uint32_t id, uint32_t parent) {
  if (parent == 0) {
    struct plugin *plugin = calloc(1, sizeof *plugin);
    if (plugin == NULL) abort();
    *plugin = (struct plugin){.id = id, .next = plugins};
    plugins = plugin;
    return;
  }
  struct stream *stream = malloc(sizeof *stream);
  if (stream == NULL) abort();
  *stream = (struct stream){.id = id, .next = streams, .plugin = plugins};
  while (stream->plugin != NULL && stream->plugin->id != parent) stream->plugin = stream->plugin->next;
  streams = stream;
}

void PROXY_WASM_EXPORT(proxy_on_delete)(uint32_t id) {
  for (struct stream **at = &streams; *at != NULL; at = &(*at)->next) {
    if ((*at)->id == id) {
      struct stream *gone = *at;
      *at = gone->next;
      free(gone);
      return;
    }
  }
}

uint32_t PROXY_WASM_EXPORT(proxy_on_vm_start)(uint32_t id, size_t size) {
  (void)id, (void)size;
  return 1;
}

static int configure(struct plugin *plugin, char *configuration) {
  for (char *part = strtok(configuration, ";"); part != NULL; part = strtok(NULL, ";")) {
    if (sscanf(part, "tag=%63s", plugin->tag) != 1 && sscanf(part, "deny=%255s", plugin->deny) != 1 &&
        sscanf(part, "auth=%63s", plugin->auth) != 1)
      return 0;
  }
  return plugin->tag[0] != 0;
}

uint32_t PROXY_WASM_EXPORT(proxy_on_configure)(uint32_t id, size_t size) {
  struct plugin *plugin = plugins;
  while (plugin != NULL && plugin->id != id) plugin = plugin->next;
  struct text configuration = buffer(PROXY_PLUGIN_CONFIGURATION, size);
  int accepted = plugin != NULL && configuration.data != NULL && configure(plugin, configuration.data);
  free(configuration.data);
  if (!accepted) {
    say(PROXY_ERROR, "the configuration has no tag");
    return 0;
  }
  proxy_define_metric(PROXY_COUNTER, "guest_requests", 14, &plugin->requests);
  proxy_set_tick_period_milliseconds(TICK_MS);
  printf("configured %s\n", plugin->tag); /* by WASI */
  fflush(stdout);
  return 1;
}

/* Counts up in the shared data and returns the new count. */
static unsigned long count_up(const char *key) {
  for (;;) {
    char *data = NULL;
    size_t size = 0;
    uint32_t cas = 0;
    struct text old = owned(proxy_get_shared_data(key, strlen(key), &data, &size, &cas), data, size);
    unsigned long count = old.data == NULL ? 1 : strtoul(old.data, NULL, 10) + 1;
    free(old.data);
    char text[24];
    int written = snprintf(text, sizeof text, "%lu", count);
    if (proxy_set_shared_data(key, strlen(key), text, written, cas) == PROXY_OK) return count;
  }
}

void PROXY_WASM_EXPORT(proxy_on_tick)(uint32_t id) {
  (void)id;
  if (count_up("ticks") == 1) say(PROXY_INFO, "first tick");
}

static void mark_request(struct plugin *plugin) {
  char number[24];
  set(PROXY_REQUEST_HEADERS, "x-guest", plugin->tag);
  add(PROXY_REQUEST_HEADERS, "x-added", "1");
  add(PROXY_REQUEST_HEADERS, "x-added", "2");
  unset(PROXY_REQUEST_HEADERS, "x-debug");
  unset(PROXY_REQUEST_HEADERS, "content-length");
  snprintf(number, sizeof number, "%lu", count_up("hits"));
  set(PROXY_REQUEST_HEADERS, "x-hits", number);
  uint64_t requests = 0;
  proxy_increment_metric(plugin->requests, 1);
  proxy_get_metric(plugin->requests, &requests);
  snprintf(number, sizeof number, "%llu", (unsigned long long)requests);
  set(PROXY_REQUEST_HEADERS, "x-count", number);
  struct text client = property("source\0address", 14);
  if (client.data != NULL) set(PROXY_REQUEST_HEADERS, "x-client", client.data);
  free(client.data);
}

/* Asks the upstream that says who may come in; the stream waits for its answer. */
static uint32_t ask(uint32_t stream, const char *upstream) {
  const char *pairs[][2] = {{":method", "GET"}, {":path", "/check"}, {":authority", "auth.example"}};
  _Alignas(4) char headers[128];
  size_t size = serialize(headers, pairs, 3);
  struct call *call = malloc(sizeof *call);
  if (call == NULL) abort();
  *call = (struct call){.next = calls, .stream = stream};
  if (proxy_http_call(upstream, strlen(upstream), headers, size, NULL, 0, NULL, 0, CALL_TIMEOUT_MS, &call->id) != PROXY_OK) {
    free(call);
    answer(500, "no call\n");
  } else {
    calls = call;
  }
  return PROXY_PAUSE;
}

void PROXY_WASM_EXPORT(proxy_on_http_call_response)(uint32_t plugin, uint32_t id, uint32_t headers, size_t body_size, uint32_t trailers) {
  (void)plugin, (void)headers, (void)trailers;
  for (struct call **at = &calls; *at != NULL; at = &(*at)->next) {
    if ((*at)->id != id) continue;
    struct call *call = *at;
    *at = call->next;
    struct text status = header(PROXY_CALL_HEADERS, ":status"), body = buffer(PROXY_CALL_BODY, body_size);
    if (proxy_set_effective_context(call->stream) == PROXY_OK) {
      if (status.data != NULL && strcmp(status.data, "200") == 0) {
        set(PROXY_REQUEST_HEADERS, "x-auth", body.data == NULL ? "" : body.data);
        proxy_continue_stream(PROXY_STREAM_REQUEST);
      } else {
        answer(401, "who?\n");
      }
    }
    free(status.data), free(body.data), free(call);
    return;
  }
}

uint32_t PROXY_WASM_EXPORT(proxy_on_request_headers)(uint32_t id, uint32_t count, uint32_t end_of_stream) {
  (void)count, (void)end_of_stream;
  struct plugin *plugin = plugin_of(id);
  if (plugin == NULL) return PROXY_CONTINUE;
  mark_request(plugin);
  struct text path = header(PROXY_REQUEST_HEADERS, ":path");
  uint32_t action = PROXY_CONTINUE;
  if (path.data == NULL) {
  } else if (plugin->deny[0] != 0 && strcmp(path.data, plugin->deny) == 0) {
    answer(403, "denied\n");
    action = PROXY_PAUSE;
  } else if (strcmp(path.data, "/crash") == 0) {
    abort();
  } else if (plugin->auth[0] != 0 && strcmp(path.data, "/auth") == 0) {
    action = ask(id, plugin->auth);
  }
  free(path.data);
  return action;
}

uint32_t PROXY_WASM_EXPORT(proxy_on_request_body)(uint32_t id, size_t size, uint32_t end_of_stream) {
  (void)id;
  if (!end_of_stream) return PROXY_PAUSE;
  struct text body = buffer(PROXY_REQUEST_BODY, size);
  for (size_t at = 0; at < body.size; at++) body.data[at] = (char)toupper((unsigned char)body.data[at]);
  proxy_set_buffer_bytes(PROXY_REQUEST_BODY, 0, size, body.data, body.size);
  free(body.data);
  return PROXY_CONTINUE;
}

uint32_t PROXY_WASM_EXPORT(proxy_on_response_headers)(uint32_t id, uint32_t count, uint32_t end_of_stream) {
  (void)count, (void)end_of_stream;
  struct plugin *plugin = plugin_of(id);
  set(PROXY_RESPONSE_HEADERS, "x-guest", plugin == NULL ? "" : plugin->tag);
  unset(PROXY_RESPONSE_HEADERS, "server");
  unset(PROXY_RESPONSE_HEADERS, "content-length");
  return PROXY_CONTINUE;
}

/* The word may lie across two pieces, so the whole body is waited for. */
uint32_t PROXY_WASM_EXPORT(proxy_on_response_body)(uint32_t id, size_t size, uint32_t end_of_stream) {
  static const char word[] = "secret", instead[] = "[hidden]";
  (void)id;
  if (!end_of_stream) return PROXY_PAUSE;
  struct text body = buffer(PROXY_RESPONSE_BODY, size);
  char *out = malloc(body.size * 2 + 1), *to = out;
  if (body.data == NULL || out == NULL) abort();
  for (const char *from = body.data, *end = body.data + body.size; from < end;) {
    if ((size_t)(end - from) >= sizeof word - 1 && memcmp(from, word, sizeof word - 1) == 0) {
      memcpy(to, instead, sizeof instead - 1);
      to += sizeof instead - 1, from += sizeof word - 1;
    } else {
      *to++ = *from++;
    }
  }
  proxy_set_buffer_bytes(PROXY_RESPONSE_BODY, 0, size, out, to - out);
  free(body.data), free(out);
  return PROXY_CONTINUE;
}

void PROXY_WASM_EXPORT(proxy_on_log)(uint32_t id) {
  struct plugin *plugin = plugin_of(id);
  struct text code = property("response\0code", 13);
  if (plugin != NULL && code.size == 8) {
    uint64_t status;
    char line[96];
    memcpy(&status, code.data, sizeof status);
    snprintf(line, sizeof line, "%s saw %llu", plugin->tag, (unsigned long long)status);
    say(PROXY_INFO, line);
  }
  free(code.data);
}
