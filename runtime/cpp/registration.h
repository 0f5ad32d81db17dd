// A device's entry at TVM's RPC tracker, kept alive beside its sessions: what runner/devices/registration.py is, which has the whole story.
#pragma once

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <deque>
#include <functional>
#include <random>
#include <string>

#include "entry.h"
#include "tenfold/json.h"
#include "wire.h"

namespace tenfold {
namespace wire {

// As in registration.py and tracker.py.
constexpr double kBeat = 2, kTrackerLimit = 10, kFirstPause = 0.5, kLongestPause = 8;
constexpr int kUnused = 3;
constexpr size_t kLongestAnswer = 1 << 20;
constexpr size_t kMagic = 0x2f271;
const char kStale[] = "it waits for another client, or it is another device than the tracker says";

class Registration {
 public:
  using Say = std::function<void(const std::string&)>;

  Registration(Entry entry, int port, double now, Say say) : entry_(std::move(entry)), port_(port), deadline_(now), say_(std::move(say)) {}

  int connection() const { return socket_; }
  double deadline() const { return deadline_; }
  pollfd watched() const { return {socket_, static_cast<short>(awaited_ == kConnection ? POLLOUT : POLLIN), 0}; }
  bool accepts(const std::string& match_key) const { return !match_key.empty() && match_key == match_key_; }

  // A session begins. A client without a match key takes a device that the tracker still has as free.
  void begin(const std::string& user, const std::string& match_key, double now) {
    user_ = user;
    match_key_.clear();
    if (match_key.empty() && is_put_) {
      drop(now);  // the only way to take an entry back
      on_time(now);
    }
    is_put_ = false;
    hurry({kInfo}, now);
  }

  void end(double now) {
    user_.clear();
    hurry({kInfo, kPut}, now);
  }

  // Reads what has come, and does what follows.
  void on_ready(double now) {
    try {
      if (awaited_ == kConnection) return connected(now);
      char part[4096];
      ssize_t size = recv(socket_, part, sizeof part, 0);
      if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
      if (size < 0) throw Lost{std::strerror(errno)};
      if (size == 0) throw Lost{"it has ended the connection"};
      content_.append(part, static_cast<size_t>(size));
      take(now);
    } catch (const Lost& error) {
      lost(error.words, now);
    }
  }

  // Does what is due: an attempt, a beat, or the end of one's patience.
  void on_time(double now) {
    try {
      if (socket_ < 0) {
        connect(now);
      } else if (awaited_ != kNothing) {
        throw Lost{"no answer for " + figure(kTrackerLimit) + " s"};
      } else {
        steps_.insert(steps_.end(), {kInfo, kKeys});
        next(now);
      }
    } catch (const Lost& error) {
      lost(error.words, now);
    }
  }

 private:
  enum Step { kNothing, kConnection, kGreeting, kInfo, kPut, kKeys };

  void connect(double now) {
    content_.clear();
    greeted_ = false;
    awaited_ = kConnection;
    deadline_ = now + kTrackerLimit;
    socket_ = socket(entry_.family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (socket_ < 0) throw Lost{std::strerror(errno)};
    if (::connect(socket_, reinterpret_cast<const sockaddr*>(&entry_.address), entry_.size) != 0 && errno != EINPROGRESS)
      throw Lost{std::strerror(errno)};
  }

  void connected(double now) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(socket_, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) throw Lost{std::strerror(error)};
    await(kGreeting, little_endian(kMagic), now);
  }

  // Takes the messages that are complete.
  void take(double now) {
    if (!greeted_) {
      std::string magic = little_endian(kMagic);
      if (magic.compare(0, content_.size(), content_, 0, magic.size()) != 0) throw Lost{"what answers there is not a tracker"};
      if (content_.size() < magic.size()) return;
      content_.erase(0, magic.size());
      greeted_ = true;
      steps_.insert(steps_.end(), {kInfo, kPut});
      next(now);
    }
    while (content_.size() >= 4) {
      size_t length = from_little_endian(content_.data());
      if (!length || length > kLongestAnswer) throw garbled();
      if (content_.size() < 4 + length) return;
      std::string message = content_.substr(4, length);
      content_.erase(0, 4 + length);
      answered(parse(message), now);
    }
  }

  void answered(const detail::Json& answer, double now) {
    Step awaited = awaited_;
    awaited_ = kNothing;
    if (awaited == kKeys && answer.kind == '[') {
      bool pending = false;
      for (const detail::Json& each : answer.items) pending |= each.kind == '"' && each.text == match_key_;
      unused_ = pending ? 0 : unused_ + 1;
      if (unused_ >= kUnused) {
        is_put_ = false;
        steps_.push_back(kPut);
      }
    } else if ((awaited != kInfo && awaited != kPut) || answer.kind != '0' || answer.text != "0") {
      throw Lost{"what it sends is no answer of a tracker"};
    } else if (awaited == kInfo && said_ != 1) {
      said_ = 1;
      pause_ = kFirstPause;
      say_("registered with the tracker " + entry_.tracker + " as " + entry_.key);
    }
    next(now);
  }

  // Does more, at once if nothing is awaited.
  void hurry(std::initializer_list<Step> steps, double now) {
    if (socket_ < 0 || !greeted_) return;  // it is all said when there is a connection
    steps_.insert(steps_.end(), steps);
    if (awaited_ != kNothing) return;
    try {
      next(now);
    } catch (const Lost& error) {
      lost(error.words, now);
    }
  }

  // Does the next step that makes sense; without one, waits for a beat.
  void next(double now) {
    while (!steps_.empty()) {
      Step step = steps_.front();
      steps_.pop_front();
      if (step == kInfo) return tell(now);
      if (step == kPut && user_.empty() && !is_put_) return put(now);
      if (step == kKeys && is_put_) return await(kKeys, framed("[7]"), now);
    }
    deadline_ = now + kBeat;
  }

  void tell(double now) {
    std::string about = "{\"beat\": " + std::to_string(++beat_) + ", \"user\": " + (user_.empty() ? "null" : quoted(user_)) + "}";
    std::string address = "[" + advertised() + ", " + std::to_string(port_) + "]";
    std::string info = "{\"key\": " + quoted("server:" + entry_.key) + ", \"addr\": " + address + ", \"tenfold\": " + about + "}";
    await(kInfo, framed("[5, " + info + "]"), now);
  }

  void put(double now) {
    static std::random_device random;
    char number[20];
    std::snprintf(number, sizeof number, "%08x%08x", random(), random());
    match_key_ = entry_.key + ":" + number;
    is_put_ = true;
    unused_ = 0;
    std::string value = "[" + std::to_string(port_) + ", " + quoted(match_key_) + "]";
    await(kPut, framed("[3, " + quoted(entry_.key) + ", " + value + ", " + advertised() + "]"), now);
  }

  std::string advertised() const { return entry_.advertise.empty() ? "null" : quoted(entry_.advertise); }
  static std::string framed(const std::string& json) { return little_endian(json.size()) + json; }

  void await(Step what, const std::string& bytes, double now) {
    awaited_ = what;
    deadline_ = now + kTrackerLimit;
    ssize_t sent = send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);  // the system takes all at once: the last answer has come
    if (sent != static_cast<ssize_t>(bytes.size())) throw Lost{sent < 0 ? std::strerror(errno) : "it takes nothing"};
  }

  void lost(const std::string& why, double now) {
    if (said_ != 0) say_("the tracker " + entry_.tracker + " does not answer: " + why + ": registering as soon as it does");
    said_ = 0;
    drop(now + pause_);
    pause_ = std::min(2 * pause_, kLongestPause);
  }

  // Ends the connection, and with it the entry.
  void drop(double deadline) {
    if (socket_ >= 0) {
      shutdown(socket_, SHUT_RDWR);  // also where the process of a session still has it
      close(socket_);
    }
    socket_ = -1;
    awaited_ = kNothing;
    is_put_ = false;
    steps_.clear();
    deadline_ = deadline;
  }

  Entry entry_;
  int port_, socket_ = -1;
  double deadline_, pause_ = kFirstPause;
  Say say_;
  std::string content_;           // what has come and is no whole message
  Step awaited_ = kNothing;       // what the tracker is to do now
  std::deque<Step> steps_;        // what comes next
  std::string user_, match_key_;  // empty: it is free; it waits for nobody
  bool greeted_ = false, is_put_ = false;
  int unused_ = 0, said_ = -1;  // said_: whether it is registered, as was said last; -1: nothing was
  uint64_t beat_ = 0;
};

}  // namespace wire
}  // namespace tenfold
