// The device program behind a port: `tenfold-device` runs and times what another machine compiled, as `tenfold serve` does, without Python
// and without TVM. `tenfold device build` builds it. The server (runner/devices/serve.py) waits for nobody; each session (bench_session.py)
// has a process and a folder of its own, so that code that crashes or hangs ends its session, not the server.

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <deque>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <thread>

#include "bench.h"
#include "registration.h"
#include "tenfold/facts.h"
#include "wire.h"

#ifndef TENFOLD_VERSION
#error "define TENFOLD_VERSION: both sides of a session must have the same (tenfold device build)"
#endif

namespace {

using namespace tenfold::wire;
using tenfold::detail::Json;

constexpr size_t kWaiting = 16;    // messages that may wait while the bench is at work
constexpr size_t kGreetings = 64;  // connections that may be about to say what they want
constexpr size_t kLastWords = 4096;
const char kFolder[] = "tenfold-device-";
const char kGone[] = "tenfold-device was stopped";

double now() { return std::chrono::duration<double>(Clock::now().time_since_epoch()).count(); }

std::string version() {  // as session.this_version
  using std::to_string;
  return TENFOLD_VERSION ", format " + to_string(tenfold::detail::kFormat) + ", protocol " + to_string(kProtocol);
}

// -- The folder of a session ----------------------------------------------------------------------------------------------------------

std::string temporary() {
  const char* named = std::getenv("TMPDIR");
  return named && *named ? named : "/tmp";
}

void remove_tree(const std::string& folder) {
  auto remove_one = [](const char* path, const struct stat*, int, struct FTW*) { return std::remove(path), 0; };
  nftw(folder.c_str(), remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

// A lock on a folder, which ends with the processes that hold it; -1 if another one holds it.
int lock_on(const std::string& folder) {
  int lock = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (lock >= 0 && flock(lock, LOCK_EX | LOCK_NB) != 0) close(lock), lock = -1;
  return lock;
}

// Removes the folders that killed servers left.
void sweep() {
  DIR* listed = opendir(temporary().c_str());
  while (dirent* each = listed ? readdir(listed) : nullptr) {
    std::string name = each->d_name, path = temporary() + "/" + name;
    struct stat about = {};
    if (name.rfind(kFolder, 0) != 0 || name.size() != sizeof kFolder + 5) continue;
    if (lstat(path.c_str(), &about) != 0 || !S_ISDIR(about.st_mode) || about.st_uid != geteuid()) continue;
    int lock = lock_on(path);
    if (lock < 0) continue;
    remove_tree(path);
    close(lock);
  }
  if (listed) closedir(listed);
}

// -- The process of a session ---------------------------------------------------------------------------------------------------------

// A path within the session's folder, which is the working folder.
const std::string& within(const std::string& name) {
  bool inside = !name.empty() && name[0] != '/' && name.find('\0') == std::string::npos;
  for (size_t begin = 0, end; inside && begin <= name.size(); begin = end + 1) {
    end = std::min(name.find('/', begin), name.size());
    std::string part = name.substr(begin, end - begin);
    inside = !part.empty() && part != "." && part != "..";
  }
  if (!inside) throw Error(name + ": this is not in the session's folder");
  return name;
}

// A name that can stand in a line of the device program.
const std::string& word(const std::string& name) {
  for (unsigned char c : name)
    if (c <= 32 || c == 127) throw Error("'" + name.substr(0, 60) + "' is no name");
  return name;
}

// What is in an object under a key, or null.
const Json& find(const Json& object, const char* key) {
  static const Json kNull;
  auto found = std::find(object.keys.begin(), object.keys.end(), key);
  return found == object.keys.end() ? kNull : object.items[static_cast<size_t>(found - object.keys.begin())];
}

std::string describe() {
  tenfold::detail::Facts facts = tenfold::detail::facts();
  std::ostringstream json;
  json << "{\"version\": " << quoted(version()) << ", \"target\": null, \"reason\": null, \"facts\": {"
       << "\"architecture\": " << quoted(facts.architecture) << ", \"description\": " << quoted(facts.name)
       << ", \"vendor\": " << quoted(facts.vendor) << ", \"family\": " << facts.family << ", \"model\": " << facts.model
       << ", \"cores\": " << facts.cores << ", \"caches\": [" << facts.caches[0] << ", " << facts.caches[1] << ", " << facts.caches[2]
       << "], \"flags\": [";
  const char* comma = "";
  for (const std::string& flag : facts.flags) json << comma << quoted(flag), comma = ", ";
  json << "]}}";
  return json.str();
}

// Answers requests by asking the bench of the device program.
class Translator {
 public:
  std::string results;  // of the last run: bytes that follow the answer

  std::string answer(const Json& request) {
    results.clear();
    try {
      for (const Json& each : find(request, "drop").items) drop(each.whole(0, INT64_MAX));
      const std::string& work = request["do"].string();
      if (work == "describe") return object("value", describe());
      if (work == "check") return check(request["target"]);
      if (work == "load") return load(request);
      if (work == "run") return run(request);
      if (work == "time") return time(request);
      throw Error("'" + work.substr(0, 60) + "' is no question");
    } catch (const std::exception& error) {  // whatever a request leads to, the session can go on
      return object("error", quoted(tenfold::one_line(error.what())));
    }
  }

 private:
  static std::string check(const Json& target) {
    std::string lack = tenfold::detail::lacking(target);
    if (!lack.empty()) throw Error("target " + target["name"].string() + ": it is for another CPU: " + lack);
    return object("value", "null");
  }

  std::string load(const Json& request) {
    const std::string& folder = word(within(request["folder"].string()));
    std::string timed = find(request, "part").kind == '"' ? find(request, "part").text : "network", said;
    try {
      std::ofstream program(folder + "/program");
      program << "threads " << request["threads"].whole(1, tenfold::detail::kMostThreads) << '\n';
      for (const char* kind : {"input", "output"}) {
        for (const Port& port : tenfold::detail::ports(request[kind == std::string("input") ? "inputs" : "outputs"])) {
          program << kind << ' ' << port.dtype;
          for (int64_t size : port.shape) program << ' ' << size;
          program << '\n';
        }
      }
      for (const Json& each : request["kernels"].of('[', "a list").items) program << "kernel " << word(each.string()) << '\n';
      if (!program.flush()) throw Error("its program can't be written");
      program.close();
      ask("load " + folder + " " + word(timed));
    } catch (...) {
      remove_tree(folder);
      throw;
    }
    remove_tree(folder);  // all is mapped
    folders_[++count_] = folder;
    return object("value", std::to_string(count_));
  }

  std::string run(const Json& request) {
    const std::string& folder = of(request);
    {
      std::ofstream all("inputs", std::ios::binary);
      for (const Json& each : request["inputs"].of('[', "a list").items) {
        const std::string& name = within(each.string());
        std::ifstream one(name, std::ios::binary);
        if (!one) throw Error(name + ": can't be read");
        if (one.peek() != EOF) all << one.rdbuf();
        std::remove(name.c_str());
      }
      if (!all.flush()) throw Error("the inputs can't be written");
    }
    ask("run " + folder + " inputs outputs");
    std::ifstream outputs("outputs", std::ios::binary);
    results.assign(std::istreambuf_iterator<char>(outputs), std::istreambuf_iterator<char>());
    std::remove("inputs");
    std::remove("outputs");
    return object("value", "null");
  }

  std::string time(const Json& request) {
    const Json& runs = find(request, "runs");
    std::string count = runs.kind == 'n' ? "0" : std::to_string(runs.whole(1, 1000000)), list;
    Words times = split(ask("time " + of(request) + " " + count));
    for (size_t i = 1; i < times.size(); ++i) list += (i > 1 ? ", " : "") + times[i];
    return object("value", "[" + list + "]");
  }

  void drop(int64_t module) {
    auto found = folders_.find(module);
    if (found == folders_.end()) return;
    bench_.answer("drop " + found->second);
    folders_.erase(found);
  }

  const std::string& of(const Json& request) {
    auto found = folders_.find(request["module"].whole(0, INT64_MAX));
    if (found == folders_.end()) throw Error("the device has no network " + request["module"].text + ": it was dropped");
    return found->second;
  }

  // A line to the bench, and the words of its answer.
  std::string ask(const std::string& line) {
    std::string said = bench_.answer(line), kind = said.substr(0, said.find(' '));
    if (kind != "ok") throw Error(said.substr(std::min(said.size(), kind.size() + 1)));
    return said;
  }

  Bench bench_;
  std::map<int64_t, std::string> folders_;
  int64_t count_ = 0;
};

// A bench at the end of a wire. `life` takes signs of life, which are one zero byte, and last words.
class BenchSession {
 public:
  BenchSession(int connection, int life, std::string folder, double silence, double theirs)
      : wire_(connection, silence), life_(life), folder_(std::move(folder)), silence_(silence), every_(beat_of(silence, theirs)) {}

  [[noreturn]] void run() {
    try {
      wire_.send(object("silence", figure(silence_)));
    } catch (const Lost&) {  // seen again below
    }
    for (void (BenchSession::*work)() : {&BenchSession::sign, &BenchSession::read, &BenchSession::beat}) std::thread(work, this).detach();
    try {
      for (;;) answer();
    } catch (const Lost& error) {
      end(error.words.empty() ? "" : "the client: " + error.words);
    }
  }

 private:
  void answer() {
    Message message = next(kValue);
    Json request = parse(message.content);
    if (request.kind != '{') throw garbled("request");
    ++asked_;
    working_ = true;
    std::string said = find(request, "do").text == "store" ? store(request) : translator_.answer(request);
    working_ = false;
    wire_.send(said);
    for (size_t at = 0; at < translator_.results.size(); at += kPiece)
      wire_.send_piece(translator_.results.data() + at, std::min(kPiece, translator_.results.size() - at));
    translator_.results.clear();
  }

  Message next(Kind kind) {
    std::unique_lock<std::mutex> hold(lock_);
    changed_.wait(hold, [this] { return !messages_.empty(); });
    Message message = std::move(messages_.front());
    messages_.pop_front();
    changed_.notify_all();
    if (message.kind != kind) throw garbled("request");
    return message;
  }

  // Takes messages, also while the bench is at work: a client that is gone is not worked for.
  void read() {
    try {
      for (;;) {
        Message message = wire_.receive();
        std::unique_lock<std::mutex> hold(lock_);
        changed_.wait(hold, [this] { return messages_.size() < kWaiting; });
        messages_.push_back(std::move(message));
        changed_.notify_all();
      }
    } catch (const Lost& error) {
      end(error.words.empty() ? "" : "the client: " + error.words);
    }
  }

  // Writes the pieces of a file that follow. All are taken, also of one that can't be written.
  std::string store(const Json& request) {
    int64_t size;
    std::string name, why;
    try {
      size = request["size"].whole(0, tenfold::detail::kMostBytes);
      name = request["name"].string();
    } catch (const Error&) {
      throw garbled("request");
    }
    int file = -1;
    try {
      within(name);
      for (size_t slash = name.find('/'); slash != std::string::npos; slash = name.find('/', slash + 1))
        mkdir(name.substr(0, slash).c_str(), 0700);
      file = open(name.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
      if (file < 0) why = std::strerror(errno);
    } catch (const Error& error) {
      why = error.what();
    }
    while (size > 0) {
      Message piece = next(kBytes);
      ++asked_;
      size -= static_cast<int64_t>(piece.content.size());
      const char* data = piece.content.data();
      for (size_t left = piece.content.size(); why.empty() && left;) {
        ssize_t written = write(file, data, left);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) {
          why = std::strerror(errno);
          break;
        }
        data += written;
        left -= static_cast<size_t>(written);
      }
    }
    if (file >= 0 && close(file) != 0 && why.empty()) why = std::strerror(errno);
    if (why.empty()) return object("value", "null");
    return object("error", quoted(tenfold::one_line(name.substr(0, 200) + ": can't be written: " + why)));
  }

  // Tells the server that this process lives. What runs for longer than the limit on silence hangs: each run counts for itself.
  void sign() {
    uint64_t seen = 0;
    for (double since = now();; pause()) {
      uint64_t done = asked_ + runs_done;
      if (done != seen || !working_) seen = done, since = now();
      if (now() - since > silence_) end("what it runs has not ended for " + figure(silence_) + " s");
      if (send(life_, "", 1, MSG_NOSIGNAL) == 1 || errno == EAGAIN || errno == EINTR) continue;
      remove_tree(folder_);  // the server is gone
      _exit(1);
    }
  }

  void beat() {
    for (;; pause())
      if (working_) wire_.sign();
  }

  void pause() const { std::this_thread::sleep_for(std::chrono::duration<double>(every_)); }

  // What the bench is at work on dies with the process: the client does not wait for it any more.
  [[noreturn]] void end(const std::string& words) {
    if (!words.empty()) send(life_, words.data(), std::min(words.size(), kLastWords), MSG_NOSIGNAL);
    _exit(0);
  }

  Wire wire_;
  int life_;
  std::string folder_;
  double silence_, every_;
  Translator translator_;
  std::atomic<uint64_t> asked_{0};
  std::atomic<bool> working_{false};
  std::mutex lock_;
  std::condition_variable changed_;
  std::deque<Message> messages_;
};

// -- The server -----------------------------------------------------------------------------------------------------------------------

const char* name_of(int number) {
  static const std::pair<int, const char*> kNames[] = {
      {SIGABRT, "SIGABRT"}, {SIGBUS, "SIGBUS"},   {SIGFPE, "SIGFPE"},   {SIGHUP, "SIGHUP"},   {SIGILL, "SIGILL"},   {SIGINT, "SIGINT"},
      {SIGKILL, "SIGKILL"}, {SIGPIPE, "SIGPIPE"}, {SIGQUIT, "SIGQUIT"}, {SIGSEGV, "SIGSEGV"}, {SIGTERM, "SIGTERM"}, {SIGTRAP, "SIGTRAP"}};
  for (auto [each, name] : kNames)
    if (each == number) return name;
  return "a signal";
}

// A connection of which it is not known yet what it wants.
struct Greeting {
  int connection;
  std::string address, content;
  double deadline;
  bool is_sent = false;   // by a tracker
  std::string match_key;  // with which it has given the device to this client

  // The limit on silence that has been asked for; 0 while that is not complete. Throws Lost: it is no client, or it is gone.
  double hear() {
    size_t wanted = kHead;
    if (content.size() >= kHead) wanted += parse_head(content.data()).second;
    char part[kHead + kLongestGreeting];
    ssize_t size = recv(connection, part, wanted - content.size(), 0);
    if (size < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
    if (size <= 0) throw Lost{};
    content.append(part, static_cast<size_t>(size));
    if (content.size() < kHead) return 0;
    auto [kind, length] = parse_head(content.data());
    if (kind != kValue || !length || length > kLongestGreeting) throw garbled("greeting");
    if (content.size() < kHead + length) return 0;
    Json json = parse(content.substr(kHead));
    const Json& silence = json.kind == '{' ? find(json, "silence") : json;
    double seconds = json.kind == '{' && find(json, "do").text == "greet" && silence.kind == '0' ? std::atof(silence.text.c_str()) : 0;
    if (!(seconds > 0 && seconds <= kLongestSilence)) throw garbled("greeting");
    if (std::find(json.keys.begin(), json.keys.end(), "key") != json.keys.end()) {
      if (find(json, "key").kind != '"') throw garbled("greeting");
      match_key = find(json, "key").text;
      is_sent = true;
    }
    return seconds;
  }
};

// A client with its process and its folder.
struct Session {
  std::string address, folder, words;
  int connection, life, lock;
  pid_t process;
  double begin, deadline;
};

class Server {
 public:
  Server(int listener, int signals, double silence) : listener_(listener), signals_(signals), silence_(silence) {}

  // Registers with a tracker from now on.
  void enter(Entry entry, int port) { registration_ = std::make_unique<Registration>(std::move(entry), port, now(), say); }

  // Until it is stopped; the signal that did it.
  int run() {
    for (;;) {
      std::vector<pollfd> watched = {{signals_, POLLIN, 0}, {listener_, POLLIN, 0}};
      watched.push_back({session_ && session_->life >= 0 ? session_->life : -1, POLLIN, 0});
      watched.push_back(registration_ ? registration_->watched() : pollfd{-1, 0, 0});
      for (const Greeting& each : greetings_) watched.push_back({each.connection, POLLIN, 0});
      poll(watched.data(), watched.size(), patience());
      if (watched[0].revents) {
        signalfd_siginfo told = {};
        if (read(signals_, &told, sizeof told) == sizeof told && told.ssi_signo != SIGCHLD) {
          if (session_) end(kGone);
          return static_cast<int>(told.ssi_signo);
        }
      }
      if (watched[2].revents && session_) hear_session();
      if (watched[3].revents) registration_->on_ready(now());
      size_t index = 4;
      for (auto each = greetings_.begin(); each != greetings_.end() && index < watched.size(); ++index) {
        auto greeting = each++;
        if (watched[index].revents) hear(greeting);
      }
      if (watched[1].revents) accept_one();
      expire();
    }
  }

 private:
  static void say(const std::string& line) {
    std::printf("%s\n", tenfold::one_line(line).c_str());
    std::fflush(stdout);
  }

  int patience() const {
    double first = session_ ? session_->deadline : 1e300;
    for (const Greeting& each : greetings_) first = std::min(first, each.deadline);
    if (registration_) first = std::min(first, registration_->deadline());
    return first == 1e300 ? -1 : static_cast<int>(std::min(std::max(0.0, std::ceil((first - now()) * 1000)), 1e9));
  }

  void accept_one() {
    sockaddr_storage from = {};
    socklen_t size = sizeof from;
    int connection = accept4(listener_, reinterpret_cast<sockaddr*>(&from), &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (connection < 0) {  // it is gone already, or there are too many files: that passes
      if (errno == EMFILE || errno == ENFILE) std::this_thread::sleep_for(std::chrono::milliseconds(100));
      return;
    }
    if (greetings_.size() == kGreetings) {
      close(greetings_.front().connection);
      greetings_.pop_front();
    }
    char host[NI_MAXHOST] = "?";
    getnameinfo(reinterpret_cast<sockaddr*>(&from), size, host, sizeof host, nullptr, 0, NI_NUMERICHOST);
    greetings_.push_back({connection, host, "", now() + kHandshake, false, ""});
  }

  void hear(std::list<Greeting>::iterator each) {
    try {
      double theirs = each->hear();
      if (theirs == 0) return;
      std::string no = refusal(*each);
      if (!no.empty()) {
        (void)!send(each->connection, no.data(), no.size(), MSG_NOSIGNAL);
      } else {
        if (registration_) registration_->begin(each->address, each->match_key, now());
        if (start(*each, theirs))
          each->connection = -1;
        else if (registration_)
          registration_->end(now());
      }
    } catch (const Lost&) {
    }
    if (each->connection >= 0) close(each->connection);
    greetings_.erase(each);
  }

  // Why a client is not served now; empty where it is.
  std::string refusal(const Greeting& greeting) const {
    if (session_) {
      char age[40];
      std::snprintf(age, sizeof age, "%.0f", now() - session_->begin);
      return message(object("busy", quoted("with " + session_->address + ", for " + age + " s")));
    }
    bool is_wrong = greeting.is_sent && !(registration_ && registration_->accepts(greeting.match_key));
    return is_wrong ? message(object("stale", quoted(kStale))) : "";
  }

  bool start(const Greeting& greeting, double theirs) {
    std::string folder = temporary() + "/" + kFolder + "XXXXXX";
    int ends[2] = {-1, -1}, lock = -1;
    pid_t process = -1;
    if (mkdtemp(&folder[0])) {
      lock = lock_on(folder);
      if (lock >= 0 && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0) process = fork();
      if (process < 0) remove_tree(folder);
    }
    if (process == 0) {
      setpgid(0, 0);
      close(ends[0]);
      become(greeting, theirs, folder, ends[1]);
    }
    if (process < 0) {
      say("no session with " + greeting.address + ": a temporary folder or process can't be made: " + std::strerror(errno));
      for (int each : {ends[0], ends[1], lock})
        if (each >= 0) close(each);
      return false;
    }
    setpgid(process, process);
    close(ends[1]);
    session_ = std::make_unique<Session>();
    *session_ = {greeting.address, folder, "", greeting.connection, ends[0], lock, process, now(), 0};
    heard();
    say("session with " + greeting.address);
    return true;
  }

  // The process of a session, from its fork on.
  [[noreturn]] void become(const Greeting& greeting, double theirs, const std::string& folder, int life) {
    close(listener_);
    close(signals_);
    if (registration_ && registration_->connection() >= 0) close(registration_->connection());
    for (const Greeting& each : greetings_)
      if (each.connection != greeting.connection) close(each.connection);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    fcntl(greeting.connection, F_SETFL, fcntl(greeting.connection, F_GETFL) & ~O_NONBLOCK);
    dup2(2, 1);  // the server's lines are the server's
    if (chdir(folder.c_str()) != 0) _exit(1);
    try {
      (new BenchSession(greeting.connection, life, folder, silence_, theirs))->run();
    } catch (const std::exception& error) {
      std::fprintf(stderr, "%s\n", error.what());
    }
    _exit(1);
  }

  void heard() { session_->deadline = now() + silence_ + beat_of(silence_, silence_); }

  // Takes signs of life and last words of the session's process. That it has ended is the end of the session.
  void hear_session() {
    char said[kLastWords];
    for (;;) {
      ssize_t size = recv(session_->life, said, sizeof said, 0);
      if (size < 0 && errno == EINTR) continue;
      if (size < 0 && errno == EAGAIN) return;
      if (size <= 0) break;
      if (size > 1 || said[0]) session_->words.assign(said, static_cast<size_t>(size));
      heard();
    }
    close(session_->life);
    session_->life = -1;
  }

  void expire() {
    double at = now();
    greetings_.remove_if([at](const Greeting& each) { return each.deadline <= at && (close(each.connection), true); });
    if (registration_ && registration_->deadline() <= at) registration_->on_time(at);
    if (!session_) return;
    int status = 0;
    if (waitpid(session_->process, &status, WNOHANG) == session_->process) {
      session_->process = -session_->process;
      if (session_->life >= 0) hear_session();
      std::string cause;
      if (WIFSIGNALED(status)) cause = std::string("its process died of ") + name_of(WTERMSIG(status));
      if (WIFEXITED(status) && WEXITSTATUS(status)) cause = "its process failed (" + std::to_string(WEXITSTATUS(status)) + ")";
      end(session_->words.empty() ? cause : session_->words);
    } else if (session_->deadline <= at) {
      end("its process gave no sign of life for " + figure(silence_) + " s");
    }
  }

  // Ends the session, tells the client why and removes what is left of it. A process number below 0: it has ended, and was waited for.
  void end(const std::string& words) {
    std::unique_ptr<Session> session = std::move(session_);
    kill(-std::abs(session->process), SIGKILL);  // which one that is stopped minds too; and what it has started
    if (session->process > 0) waitpid(session->process, nullptr, 0);
    std::string last = message(object("ended", quoted(words.empty() ? "it has ended" : words)));
    fcntl(session->connection, F_SETFL, fcntl(session->connection, F_GETFL) | O_NONBLOCK);
    (void)!send(session->connection, last.data(), last.size(), MSG_NOSIGNAL);
    shutdown(session->connection, SHUT_WR);
    char rest[4096];
    for (int left = 1 << 12; left && recv(session->connection, rest, sizeof rest, 0) > 0; --left) {
    }  // the system drops what it has sent if something is left unread
    close(session->connection);
    if (session->life >= 0) close(session->life);
    remove_tree(session->folder);
    close(session->lock);
    say("session ended" + (words.empty() ? "" : ": " + words));
    if (registration_) registration_->end(now());
  }

  int listener_, signals_;
  double silence_;
  std::list<Greeting> greetings_;
  std::unique_ptr<Session> session_;
  std::unique_ptr<Registration> registration_;
};

int mistake(const std::string& text) {
  std::fprintf(stderr, "tenfold-device: %s\n", tenfold::one_line(text).c_str());
  return 2;
}

// A socket that listens, or an empty hand and why.
int listen_on(const std::string& host, const std::string& port, std::string& why) {
  addrinfo hints = {}, *found = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  if (int code = getaddrinfo(host.c_str(), port.c_str(), &hints, &found)) {
    why = gai_strerror(code);
    return -1;
  }
  int listener = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), yes = 1;
  if (listener >= 0) {
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, found->ai_addr, found->ai_addrlen) != 0 || listen(listener, 128) != 0) close(listener), listener = -1;
  }
  if (listener < 0) why = std::strerror(errno);
  freeaddrinfo(found);
  return listener;
}

const char kHelp[] =
    "tenfold-device [--host ADDRESS] [--port PORT] [--silence SECONDS] [--tracker HOST:PORT --key KEY [--advertise HOST]]\n"
    "Runs and times networks that another machine compiled (there: --device HOST:PORT), one session at a time, until Ctrl-C.\n"
    "  --host ADDRESS     listen on this address (127.0.0.1); whoever reaches it can run any code here\n"
    "  --port PORT        0: any that is free (9190)\n"
    "  --silence SECONDS  without a sign of life after which a session ends; also the longest that one run may take (60)\n"
    "  --tracker HOST:PORT, --key KEY   register with TVM's RPC tracker: one of the devices that are called so (--device tracker:HOST:PORT/KEY)\n"
    "  --advertise HOST   the address that clients are given; default: as the tracker sees it\n"
    "  --version\n";

}  // namespace

int main(int count, char** words) {
  std::string host = "127.0.0.1", port = "9190", seconds = figure(kSilence), why, tracker, key, advertise;
  for (int i = 1; i < count; ++i) {
    std::string option = words[i];
    std::map<std::string, std::string*> known = {{"--host", &host},       {"--port", &port}, {"--silence", &seconds},
                                                 {"--tracker", &tracker}, {"--key", &key},   {"--advertise", &advertise}};
    if (option == "--help" || option == "-h") return std::fputs(kHelp, stdout), 0;
    if (option == "--version") return std::puts(("tenfold-device " + version()).c_str()), 0;
    if (!known.count(option)) return mistake("there is no option " + option + " (see --help)");
    if (i + 1 == count) return mistake(option + " needs a value");
    *known[option] = words[++i];
  }
  char* rest = nullptr;
  double silence = std::strtod(seconds.c_str(), &rest);
  if (seconds.empty() || *rest || !(silence >= kShortestSilence && silence <= kLongestSilence))
    return mistake("--silence " + seconds + ": give seconds, from 0.5 to 86400");
  if (!tenfold::detail::is_number(port) || std::atoll(port.c_str()) > 65535)
    return mistake("--port " + port + ": give a number from 0 to 65535");
  if (tracker.empty() != key.empty() || (tracker.empty() && !advertise.empty()))
    return mistake("--tracker HOST:PORT and --key KEY belong together; --advertise HOST needs both");
  Entry entry;
  try {
    if (!tracker.empty()) entry = entry_of(tracker, key, advertise);
  } catch (const Error& error) {
    return mistake(error.what());
  }

  sigset_t watched;
  sigemptyset(&watched);
  for (int each : {SIGCHLD, SIGINT, SIGTERM}) sigaddset(&watched, each);
  sigprocmask(SIG_BLOCK, &watched, nullptr);
  signal(SIGPIPE, SIG_IGN);
  int signals = signalfd(-1, &watched, SFD_NONBLOCK | SFD_CLOEXEC), listener = listen_on(host, port, why);
  if (listener < 0) return mistake("can't listen on " + host + ":" + port + ": " + why + "; choose another --host or --port");
  if (signals < 0) return mistake(std::string("can't wait for signals: ") + std::strerror(errno));

  sweep();
  sockaddr_storage at = {};
  socklen_t size = sizeof at;
  getsockname(listener, reinterpret_cast<sockaddr*>(&at), &size);
  uint16_t chosen = at.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6&>(at).sin6_port : reinterpret_cast<sockaddr_in&>(at).sin_port;
  if (!tracker.empty() && advertise.empty() && is_loopback(at) && !is_loopback(entry.address))
    return mistake("--host " + host + ": clients of a tracker on another machine do not reach it: give --host 0.0.0.0, or --advertise HOST");
  std::printf("serving %s on %s:%d, one session at a time\n", tenfold::detail::facts().name.c_str(), host.c_str(), ntohs(chosen));
  std::fflush(stdout);
  Server server(listener, signals, silence);
  if (!tracker.empty()) server.enter(std::move(entry), ntohs(chosen));
  return 128 + server.run();
}
