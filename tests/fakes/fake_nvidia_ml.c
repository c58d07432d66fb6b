/* A libnvidia-ml.so.1 without a driver. What it says stands in the text file that GREENROOM_FAKE_NVML names, which is
 * read anew at every call, so that memory changes and devices fail while a program runs. A line is one of
 *
 *   init CODE                          what nvmlInit returns
 *   old                                no second version of the memory information, as with drivers before 510
 *   gpu UUID TOTAL FREE CODE           a GPU, in order; CODE is what reading it returns
 *   instance UUID PARENT TOTAL FREE    a MIG instance of the GPU with that index
 *   process UUID PID BYTES             a process on a device
 *   event UUID KIND NUMBER             something that happened; each is told once
 *   hang                               while this stands, reading any device does not return
 *
 * Handles die with the library: a handle of an earlier life is an invalid argument, as with the real one. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OK = 0, UNINITIALIZED = 1, INVALID = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, TOO_SMALL = 7, TIMEOUT = 10 };
enum { DEVICES = 32, NAME = 96, LIFE = 1000, HANG_MICROSECONDS = 20000 };

typedef struct { char uuid[NAME]; unsigned long long total, free; int code, parent; } device_t;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } memory_v2_t;
typedef struct { unsigned long long total, free, used; } memory_t;
typedef struct { unsigned pid; unsigned long long used; unsigned gpu, compute; } process_t;
typedef struct { void *device; unsigned long long kind, number; unsigned gpu, compute; } event_t;

static device_t devices[DEVICES];
static int count, init_code, is_old, is_hanging, inits, life, told;

static void read_state(void) {
  char line[256];
  const char *path = getenv("GREENROOM_FAKE_NVML");
  FILE *file = path ? fopen(path, "r") : NULL;
  count = init_code = is_old = is_hanging = 0;
  while (file && fgets(line, sizeof line, file)) {
    device_t one = {.parent = -1};
    if (sscanf(line, "init %d", &init_code) == 1) continue;
    if (strncmp(line, "old", 3) == 0) is_old = 1;
    if (strncmp(line, "hang", 4) == 0) is_hanging = 1;
    int is_gpu = sscanf(line, "gpu %95s %llu %llu %d", one.uuid, &one.total, &one.free, &one.code) == 4;
    int is_instance = sscanf(line, "instance %95s %d %llu %llu", one.uuid, &one.parent, &one.total, &one.free) == 4;
    if ((is_gpu || is_instance) && count < DEVICES) devices[count++] = one;
  }
  if (file) fclose(file);
}

static void *handle_of(int place) { return (void *)(intptr_t)(life * LIFE + place + 1); }

static device_t *device_of(void *handle) {
  intptr_t number = (intptr_t)handle - 1 - (intptr_t)life * LIFE;
  return number >= 0 && number < count ? &devices[number] : NULL;
}

static int begin(void) {
  read_state();
  return inits ? OK : UNINITIALIZED;
}

static int find(void *handle, device_t **found) {
  int code = begin();
  if (code != OK) return code;
  for (; is_hanging; read_state()) usleep(HANG_MICROSECONDS);
  *found = device_of(handle);
  return *found ? (*found)->code : INVALID;
}

int nvmlInitWithFlags(unsigned flags) {
  (void)flags;
  read_state();
  if (init_code != OK) return init_code;
  if (inits++ == 0) life++;
  return OK;
}

int nvmlShutdown(void) {
  if (!inits) return UNINITIALIZED;
  inits--;
  return OK;
}

const char *nvmlErrorString(int code) {
  static char words[32];
  snprintf(words, sizeof words, "NVML code %d", code);
  return words;
}

int nvmlDeviceGetCount_v2(unsigned *number) {
  int code = begin();
  if (code != OK) return code;
  *number = 0;
  for (int place = 0; place < count; place++) *number += devices[place].parent < 0;
  return OK;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) {
  int code = begin();
  if (code != OK) return code;
  for (int place = 0; place < count; place++) {
    if (devices[place].parent >= 0) continue;
    if (index-- == 0) return *handle = handle_of(place), OK;
  }
  return INVALID;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, void **handle) {
  int code = begin();
  if (code != OK) return code;
  for (int place = 0; place < count; place++)
    if (strcmp(devices[place].uuid, uuid) == 0) return *handle = handle_of(place), devices[place].code;
  return NOT_FOUND;
}

int nvmlDeviceGetUUID(void *handle, char *uuid, unsigned length) {
  device_t *device = NULL;
  int code = begin();
  if (code != OK) return code;
  if (!(device = device_of(handle))) return INVALID;
  snprintf(uuid, length, "%s", device->uuid);
  return OK;
}

int nvmlDeviceGetMemoryInfo(void *handle, memory_t *memory) {
  device_t *device = NULL;
  int code = find(handle, &device);
  if (code != OK) return code;
  *memory = (memory_t){device->total, device->free, device->total - device->free};
  return OK;
}

int nvmlDeviceGetMemoryInfo_v2(void *handle, memory_v2_t *memory) {
  device_t *device = NULL;
  int code = find(handle, &device);
  if (code != OK) return code;
  if (is_old) return NOT_SUPPORTED;
  if (memory->version != 0x02000028) return INVALID;
  *memory = (memory_v2_t){memory->version, device->total, 0, device->free, device->total - device->free};
  return OK;
}

static int instances_of(device_t *device) {
  int found = 0;
  for (int place = 0; place < count; place++) found += devices[place].parent == (int)(device - devices);
  return found;
}

int nvmlDeviceGetMigMode(void *handle, unsigned *now, unsigned *next) {
  device_t *device = NULL;
  int code = find(handle, &device);
  if (code != OK) return code;
  *now = *next = instances_of(device) > 0;
  return *now ? OK : NOT_SUPPORTED;
}

int nvmlDeviceGetMaxMigDeviceCount(void *handle, unsigned *number) {
  (void)handle;
  *number = 7;
  return OK;
}

int nvmlDeviceGetMigDeviceHandleByIndex(void *handle, unsigned index, void **instance) {
  device_t *device = NULL;
  int code = find(handle, &device);
  if (code != OK) return code;
  for (int place = 0; place < count; place++)
    if (devices[place].parent == (int)(device - devices) && index-- == 0) return *instance = handle_of(place), OK;
  return NOT_FOUND;
}

int nvmlDeviceGetComputeRunningProcesses_v3(void *handle, unsigned *number, process_t *processes) {
  device_t *device = NULL;
  int code = find(handle, &device);
  char line[256], uuid[NAME];
  unsigned room = *number, found = 0, pid;
  unsigned long long used;
  if (code != OK) return code;
  FILE *file = fopen(getenv("GREENROOM_FAKE_NVML"), "r");
  while (file && fgets(line, sizeof line, file))
    if (sscanf(line, "process %95s %u %llu", uuid, &pid, &used) == 3 && strcmp(uuid, device->uuid) == 0) {
      if (processes && found < room) processes[found] = (process_t){pid, used, 0, 0};
      found++;
    }
  if (file) fclose(file);
  *number = found;
  return found > room ? TOO_SMALL : OK;
}

int nvmlEventSetCreate(void **events) { return *events = &told, OK; }

int nvmlDeviceGetSupportedEventTypes(void *handle, unsigned long long *kinds) {
  device_t *device = NULL;
  *kinds = 0xc008; /* XID, unavailable, recovery action. */
  return find(handle, &device);
}

int nvmlDeviceRegisterEvents(void *handle, unsigned long long kinds, void *events) {
  device_t *device = NULL;
  (void)events;
  return kinds & ~0xc008ull ? NOT_SUPPORTED : find(handle, &device);
}

int nvmlEventSetWait_v2(void *events, event_t *event, unsigned milliseconds) {
  char line[256], uuid[NAME];
  unsigned long long kind, number;
  int place = 0, code = begin();
  (void)events, (void)milliseconds;
  if (code != OK) return code;
  FILE *file = fopen(getenv("GREENROOM_FAKE_NVML"), "r");
  code = TIMEOUT;
  while (file && code == TIMEOUT && fgets(line, sizeof line, file)) {
    if (sscanf(line, "event %95s %llu %llu", uuid, &kind, &number) != 3 || place++ != told) continue;
    for (int index = 0; index < count; index++)
      if (strcmp(devices[index].uuid, uuid) == 0) {
        *event = (event_t){handle_of(index), kind, number, 0, 0};
        told++;
        code = OK;
      }
  }
  if (file) fclose(file);
  return code;
}
