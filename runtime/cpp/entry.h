// What a device registers as with TVM's RPC tracker: `--tracker HOST:PORT --key KEY --advertise HOST`.
#pragma once

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstring>
#include <string>

#include "tenfold/facts.h"
#include "tenfold/tensors.h"
#include "wire.h"

namespace tenfold {
namespace wire {

constexpr size_t kLongestKey = 100;

struct Entry {
  std::string tracker, key, advertise;  // advertise: empty for the address from which the tracker sees the device
  int family = 0;
  sockaddr_storage address = {};
  socklen_t size = 0;
};

inline bool is_key(const std::string& key) {
  for (size_t i = 0; i < key.size(); i += letter(key, i))
    if (static_cast<unsigned char>(key[i]) <= 32 || key[i] == 127 || !letter(key, i)) return false;
  return !key.empty() && key.size() <= kLongestKey;
}

inline bool is_loopback(const sockaddr_storage& address) {
  if (address.ss_family == AF_INET6) return IN6_IS_ADDR_LOOPBACK(&reinterpret_cast<const sockaddr_in6&>(address).sin6_addr);
  return ntohl(reinterpret_cast<const sockaddr_in&>(address).sin_addr.s_addr) >> 24 == 127;
}

// The entry that options name. Throws Error: the line that says what is wrong with them.
inline Entry entry_of(const std::string& tracker, const std::string& key, const std::string& advertise) {
  size_t colon = tracker.rfind(':');
  std::string host = tracker.substr(0, colon), port = colon == std::string::npos ? "" : tracker.substr(colon + 1);
  if (host.size() > 1 && host.front() == '[' && host.back() == ']')
    host = host.substr(1, host.size() - 2);
  else if (host.find(':') != std::string::npos)
    host.clear();
  int64_t number = detail::is_number(port) && port.size() < 6 ? std::atoll(port.c_str()) : 0;
  if (host.empty() || number < 1 || number > 65535)
    throw Error("--tracker " + tracker + ": write it as HOST:PORT, for example 10.0.0.1:9190");
  if (!is_key(key)) throw Error("--key " + key + ": a key has 1 to " + std::to_string(kLongestKey) + " letters, and no spaces");
  addrinfo hints = {}, *found = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  if (int code = getaddrinfo(host.c_str(), port.c_str(), &hints, &found)) throw Error("--tracker " + tracker + ": " + gai_strerror(code));
  Entry entry = {tracker, key, advertise, found->ai_family, {}, found->ai_addrlen};
  std::memcpy(&entry.address, found->ai_addr, found->ai_addrlen);
  freeaddrinfo(found);
  return entry;
}

}  // namespace wire
}  // namespace tenfold
