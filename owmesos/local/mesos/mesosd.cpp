// Starts the master or the agent that is linked into `_scheduler.so`, a Python extension with all of libmesos 1.11.0.
//
//   mesosd check                       opens the libraries and ends with 0
//   mesosd master                      a master
//   mesosd agent HOST:PORT             an agent of the master at HOST:PORT
//   mesos-containerizer launch …       (a link to this program) what an agent runs to start a container
//
// Flags of master and agent come from MESOS_*, the address from LIBPROCESS_IP and LIBPROCESS_PORT. MESOSD_LIB names
// the folder of `_scheduler.so` and of the stub libraries. With MESOSD_LIFELINE set, the daemon ends when its standard
// input does: so it never outlives the process that holds the other end.
//
// Every offset and machine instruction below holds for exactly the file whose digest archive.py checks.
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <new>
#include <string>

namespace {

void* mesos;   // the handle of _scheduler.so

[[noreturn]] void fail(const char* reason) {
  fprintf(stderr, "mesosd: %s\n", reason);
  exit(1);
}

void* symbol(const char* name) {
  void* address = dlsym(mesos, name);
  if (address == nullptr) fail(dlerror());
  return address;
}

template <typename Signature>
Signature* function(const char* name) {
  return reinterpret_cast<Signature*>(symbol(name));
}

// As libmesos lays out its Option<std::string>.
struct OptionalText {
  int isNone;
  std::string value;
};

void openLibraries(const std::string& folder) {
  static const char* const names[] = {
      "libcurl.so.4", "libcrypto.so.1.0.0", "libssl.so.1.0.0", "libapr-1.so.0", "libsvn_subr-1.so.1",
      "libsvn_delta-1.so.1", "libsasl2.so.2", "libpython-stub.so", "_scheduler.so"};
  for (const char* name : names) {
    mesos = dlopen((folder + "/" + name).c_str(), RTLD_LAZY | RTLD_GLOBAL);
    if (mesos == nullptr) fail(dlerror());
  }
}

void overwrite(void* at, const void* bytes, size_t length) {
  void* page = reinterpret_cast<void*>(reinterpret_cast<size_t>(at) & ~size_t{4095});
  if (mprotect(page, 8192, PROT_READ | PROT_WRITE | PROT_EXEC) != 0) fail("cannot change the code of libmesos");
  memcpy(at, bytes, length);
  mprotect(page, 8192, PROT_READ | PROT_EXEC);
}

// local::launch calls Containerizer::create(flags, local = true, …), and `local` sends the output of tasks to that of
// the agent. A real agent passes false (the sandbox); the constant is put right in `mov edx, 1` before the call.
void sendOutputToSandbox(char* launch) {
  char* create = static_cast<char*>(symbol(
      "_ZN5mesos8internal5slave13Containerizer6createERKNS1_5FlagsEbPNS1_7FetcherEPNS1_16GarbageCollectorEPNS_"
      "14SecretResolverEPNS1_16VolumeGidManagerEPNS0_20PendingFutureTrackerEPNS1_9CSIServerE"));
  const char callOpcode = '\xe8';
  for (char* call = launch; call < launch + 0x8000; call++) {
    int distance;
    memcpy(&distance, call + 1, sizeof distance);
    if (*call != callOpcode || call + 5 + distance != create) continue;
    for (char* move = call; move > call - 24; move--) {
      if (memcmp(move, "\xba\x01\x00\x00", 5) == 0) {
        overwrite(move + 1, "\x00", 1);
        return;
      }
    }
  }
  fail("libmesos is not the one that this program was written for");
}

// An agent is started by local::launch too, which starts a master beside it and appoints that one. The detector's
// `appoint` only notes the detector meanwhile; afterwards it is put back, and given the master that was asked for.
class HeldAppointment {
 public:
  HeldAppointment() : appoint(symbol("_ZN5mesos6master8detector24StandaloneMasterDetector7appointERK6OptionINS_"
                                     "10MasterInfoEE")) {
    char jump[12] = {0x48, '\xb8', 0, 0, 0, 0, 0, 0, 0, 0, '\xff', '\xe0'};   // mov rax, note; jmp rax
    void (*target)(void*, const void*) = note;
    memcpy(jump + 2, &target, sizeof target);
    memcpy(original, appoint, sizeof original);
    overwrite(appoint, jump, sizeof jump);
  }

  void release(const std::string& master) {
    overwrite(appoint, original, sizeof original);
    if (detector == nullptr) fail("the agent asked for no master");
    alignas(16) static char upid[4096];
    function<void(void*, const char*)>("_ZN7process4UPIDC1EPKc")(upid, ("master@" + master).c_str());
    function<void(void*, const void*)>(
        "_ZN5mesos6master8detector24StandaloneMasterDetector7appointERKN7process4UPIDE")(detector, upid);
  }

 private:
  static void note(void* self, const void*) { detector = self; }

  static void* detector;
  void* appoint;
  char original[12];
};
void* HeldAppointment::detector;

// `delegate` is the process whose /api/v1 answers at the root.
void startNetworking(const char* delegate) {
  OptionalText name{0, delegate}, none{1, ""};
  function<bool(const void*, const void*, const void*)>(
      "_ZN7process10initializeERK6OptionINSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEEES9_S9_")(
      &name, &none, &none);
}

void launch(int agents, HeldAppointment* held, const char* master) {
  alignas(16) static char flags[65536], pid[4096];   // local::Flags: work_dir at 8, num_slaves at 40
  function<void(void*)>("_ZN5mesos8internal5local5FlagsC1Ev")(flags);
  if (const char* folder = getenv("MESOS_WORK_DIR")) *reinterpret_cast<std::string*>(flags + 8) = folder;
  *reinterpret_cast<int*>(flags + 40) = agents;
  void* launcher = symbol("_ZN5mesos8internal5local6launchERKNS1_5FlagsEPNS_9allocator9AllocatorE");
  sendOutputToSandbox(static_cast<char*>(launcher));
  reinterpret_cast<void (*)(void*, const void*, void*)>(launcher)(pid, flags, nullptr);
  if (held != nullptr) held->release(master);
}

// The subcommand of mesos-containerizer: the object is put together by hand, as its constructor is inlined.
int containerizer(int argc, char** argv) {
  alignas(16) static char command[65536], warnings[4096];
  const int flagsAt = 0xe0, nameAt = 8;
  *reinterpret_cast<void**>(command) =
      static_cast<char*>(symbol("_ZTVN5mesos8internal5slave24MesosContainerizerLaunchE")) + 16;
  new (command + nameAt) std::string("launch");
  function<void(void*)>("_ZN5mesos8internal5slave24MesosContainerizerLaunch5FlagsC1Ev")(command + flagsAt);
  long toBase = (*reinterpret_cast<long**>(command + flagsAt))[-3];   // FlagsBase is a virtual base
  OptionalText prefix{0, "MESOS_CONTAINERIZER_"};
  function<void(void*, void*, const void*, int, char**, bool, bool)>(
      "_ZN5flags9FlagsBase4loadERK6OptionINSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEEEiPKPKcbb")(
      warnings, command + flagsAt + toBase, &prefix, argc - 1, argv + 1, false, false);
  bool failed = *reinterpret_cast<int*>(warnings + 32) == 0;
  if (failed) fail(reinterpret_cast<std::string*>(warnings + 40)->c_str());
  return function<int(void*)>("_ZN5mesos8internal5slave24MesosContainerizerLaunch7executeEv")(command);
}

[[noreturn]] void serve() {
  if (getenv("MESOSD_LIFELINE") == nullptr)
    for (;;) pause();
  char byte;
  for (;;) {
    ssize_t length = read(STDIN_FILENO, &byte, 1);
    if (length == 0 || (length < 0 && errno != EINTR)) _exit(0);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "";
  const char* folder = getenv("MESOSD_LIB");
  openLibraries(folder != nullptr ? folder : ".");
  if (mode == "launch") return containerizer(argc, argv);
  if (mode == "check") return 0;
  const rlimit noCore{0, 0};
  setrlimit(RLIMIT_CORE, &noCore);
  if (mode == "master") {
    startNetworking("master");
    launch(0, nullptr, nullptr);
  } else if (mode == "agent" && argc > 2) {
    startNetworking("slave(1)");
    HeldAppointment held;
    launch(1, &held, argv[2]);
  } else {
    fail("usage: mesosd check | master | agent HOST:PORT");
  }
  serve();
}
