// Messages between a device and who times on it, as runner/devices/wire.py has them: a mark, the kind, the length, and then JSON or bytes.
#pragma once

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <string>
#include <utility>

#include "tenfold/json.h"

namespace tenfold {
namespace wire {

// As in wire.py and greeting.py.
constexpr int kProtocol = 1;
constexpr size_t kHead = 9, kPiece = 1 << 16, kLongest = 16 << 20, kLongestGreeting = 4096;
constexpr double kSilence = 60, kShortestSilence = 0.5, kLongestSilence = 86400, kBeats = 4, kSlowestBeat = 5, kHandshake = 5;
enum Kind : uint8_t { kAlive, kValue, kBytes };

// The other side has ended the connection, is silent, or sends what is no message.
struct Lost {
  std::string words;  // empty: it has ended the connection
};

inline Lost garbled(const char* what = "message") { return {std::string("what it sends is no ") + what}; }

struct Message {
  Kind kind = kAlive;
  std::string content;
};

inline std::string figure(double value) {
  char text[40];
  std::snprintf(text, sizeof text, "%g", value);
  return text;
}

inline double beat_of(double one, double other) { return std::min({kSlowestBeat, one / kBeats, other / kBeats}); }

// Length of the UTF-8 sequence that begins at a place of a text; 0 if none does.
inline size_t letter(const std::string& text, size_t at) {
  unsigned char first = static_cast<unsigned char>(text[at]);
  size_t length = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
  if (at + length > text.size()) return 0;
  for (size_t i = 1; i < length; ++i)
    if ((static_cast<unsigned char>(text[at + i]) & 0xc0) != 0x80) return 0;
  if (length > 2) {  // no longer than needed, no half of a pair, not beyond Unicode
    unsigned char second = static_cast<unsigned char>(text[at + 1]);
    if ((first == 0xe0 && second < 0xa0) || (first == 0xed && second > 0x9f)) return 0;
    if ((first == 0xf0 && second < 0x90) || (first == 0xf4 && second > 0x8f)) return 0;
  }
  return length;
}

// A text as JSON.
inline std::string quoted(const std::string& text) {
  std::string json = "\"";
  for (size_t i = 0; i < text.size();) {
    size_t length = letter(text, i);
    unsigned char c = static_cast<unsigned char>(text[i]);
    if (c == '"' || c == '\\')
      json += '\\', json += text[i];
    else if (!length || c < 32 || c == 127)
      json += '?';
    else
      json.append(text, i, length);
    i += std::max<size_t>(length, 1);
  }
  return json + "\"";
}

inline std::string object(const char* key, const std::string& json) { return "{" + quoted(key) + ": " + json + "}"; }

inline std::string little_endian(size_t value) {
  std::string bytes;
  for (int shift = 0; shift < 32; shift += 8) bytes += static_cast<char>(value >> shift & 255);
  return bytes;
}

inline size_t from_little_endian(const char* bytes) {
  size_t value = 0;
  for (int i = 3; i >= 0; --i) value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return value;
}

inline std::string head(Kind kind, size_t length) { return "10fd" + std::string(1, static_cast<char>(kind)) + little_endian(length); }

inline std::string message(const std::string& json) { return head(kValue, json.size()) + json; }

// Kind and length of a message. Throws Lost.
inline std::pair<Kind, size_t> parse_head(const char* bytes) {
  size_t length = from_little_endian(bytes + 5);
  if (std::memcmp(bytes, "10fd", 4) != 0 || static_cast<unsigned char>(bytes[4]) > kBytes || length > kLongest) throw garbled();
  return {static_cast<Kind>(bytes[4]), length};
}

inline detail::Json parse(const std::string& content) {
  try {
    return detail::JsonReader(content.data(), content.size()).read();
  } catch (const Error&) {
    throw garbled();
  }
}

// One side of a connection. One thread may read it, several may write.
class Wire {
 public:
  Wire(int connection, double silence) : socket_(connection), silence_(silence) {
    timeval limit;
    limit.tv_sec = static_cast<time_t>(silence);
    limit.tv_usec = static_cast<suseconds_t>((silence - std::floor(silence)) * 1e6);
    for (int option : {SO_RCVTIMEO, SO_SNDTIMEO}) setsockopt(socket_, SOL_SOCKET, option, &limit, sizeof limit);
    int seconds = std::max(1, static_cast<int>(std::lround(silence / kBeats)));
    set(SOL_SOCKET, SO_KEEPALIVE, 1);
    set(IPPROTO_TCP, TCP_NODELAY, 1);
    set(IPPROTO_TCP, TCP_KEEPIDLE, seconds);
    set(IPPROTO_TCP, TCP_KEEPINTVL, seconds);
    set(IPPROTO_TCP, TCP_KEEPCNT, static_cast<int>(kBeats));
    set(IPPROTO_TCP, TCP_USER_TIMEOUT, std::max(1, static_cast<int>(std::lround(silence * 1000))));
  }

  void send(const std::string& json) { send(kValue, json.data(), json.size()); }
  void send_piece(const char* data, size_t size) { send(kBytes, data, size); }

  // A sign of life, unless a message is on its way, which is one.
  void sign() {
    if (!writing_.try_lock()) return;
    std::string bytes = head(kAlive, 0);
    bool sent = all(bytes.data(), bytes.size());
    writing_.unlock();
    if (!sent) shutdown(socket_, SHUT_RDWR);  // a part of it may be on its way; whoever reads will see the end
  }

  // The next value, or piece of a file. Throws Lost.
  Message receive() {
    for (;;) {
      char bytes[kHead];
      take(bytes, kHead);
      auto [kind, length] = parse_head(bytes);
      Message message{kind, std::string()};
      while (message.content.size() < length) {  // not more memory than has come
        size_t begin = message.content.size(), part = std::min(length - begin, kPiece);
        message.content.resize(begin + part);
        take(&message.content[begin], part);
      }
      if (kind != kAlive) return message;
    }
  }

 private:
  void set(int level, int option, int value) { setsockopt(socket_, level, option, &value, sizeof value); }

  void send(Kind kind, const char* data, size_t size) {
    std::lock_guard<std::mutex> hold(writing_);
    std::string bytes = head(kind, size);
    if (!all(bytes.data(), bytes.size()) || !all(data, size)) throw lost();
  }

  bool all(const char* data, size_t size) {
    while (size) {
      ssize_t sent = ::send(socket_, data, size, MSG_NOSIGNAL);
      if (sent < 0 && errno == EINTR) continue;
      if (sent <= 0) return false;
      data += sent;
      size -= static_cast<size_t>(sent);
    }
    return true;
  }

  void take(char* data, size_t size) {
    while (size) {
      ssize_t part = recv(socket_, data, size, 0);
      if (part < 0 && errno == EINTR) continue;
      if (part == 0) throw Lost{};
      if (part < 0) throw lost();
      data += part;
      size -= static_cast<size_t>(part);
    }
  }

  Lost lost() const {
    bool silent = errno == EAGAIN || errno == EWOULDBLOCK || errno == ETIMEDOUT;
    return {silent ? "no sign of life for " + figure(silence_) + " s" : ""};
  }

  int socket_;
  double silence_;
  std::mutex writing_;
};

}  // namespace wire
}  // namespace tenfold
