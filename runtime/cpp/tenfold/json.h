// A strict reader of JSON: what runtime/manifest.py refuses, this refuses.
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "tensors.h"

namespace tenfold {
namespace detail {

// A value of JSON. kind: one of { [ " 0 t f n.
struct Json {
  char kind = 'n';
  std::string text;  // of a string, or the digits of a number
  std::vector<std::string> keys;
  std::vector<Json> items;  // of a list, or of an object: one for each key

  const Json& of(char wanted, const char* called) const {
    if (kind != wanted) throw Error(std::string("where ") + called + " should be, there is something else");
    return *this;
  }
  const Json& operator[](const char* key) const {
    auto found = std::find(keys.begin(), keys.end(), key);
    if (of('{', "an object").keys.end() == found) throw Error(std::string("field '") + key + "' is missing");
    return items[found - keys.begin()];
  }
  const std::string& string() const { return of('"', "a string").text; }
  int64_t whole(int64_t least, int64_t most) const {
    errno = 0;
    const std::string& digits = of('0', "a whole number").text;
    int64_t value = std::strtoll(digits.c_str(), nullptr, 10);
    if (errno || digits.find_first_not_of("-0123456789") != std::string::npos || value < least || value > most)
      throw Error(digits.substr(0, 40) + " is not a whole number between " + std::to_string(least) + " and " + std::to_string(most));
    return value;
  }
};

// Reads JSON, and nothing that is only like it.
class JsonReader {
 public:
  JsonReader(const char* begin, size_t size) : at_(begin), begin_(begin), end_(begin + size) {}
  Json read() {
    Json value = any(0);
    space();
    if (at_ != end_) fail();
    return value;
  }

 private:
  [[noreturn]] void fail() const { throw Error("not JSON at byte " + std::to_string(at_ - begin_)); }
  char peek() const { return at_ < end_ ? *at_ : '\0'; }
  bool skip(char c) { return peek() == c && at_ < end_ ? ++at_, true : false; }
  void need(const char* word) {
    for (; *word; ++word)
      if (!skip(*word)) fail();
  }
  void space() {
    while (at_ < end_ && std::strchr(" \t\r\n", *at_) && *at_) ++at_;
  }
  bool digits() {
    const char* first = at_;
    while (peek() >= '0' && peek() <= '9') ++at_;
    return at_ != first;
  }

  Json any(size_t depth) {
    space();
    if (depth > kMostDepth) throw Error("its brackets are nested too deeply");
    Json value;
    value.kind = peek();
    if (value.kind == '{' || value.kind == '[') {
      bool is_object = skip('{');
      char close = is_object ? '}' : ']';
      if (!is_object) need("[");
      for (space(); !skip(close); space()) {
        if (!value.items.empty()) need(",");
        if (is_object) {
          space();
          std::string key = string();
          if (std::find(value.keys.begin(), value.keys.end(), key) != value.keys.end())
            throw Error("'" + key.substr(0, 60) + "' stands there twice");
          value.keys.push_back(std::move(key));
          space();
          need(":");
        }
        value.items.push_back(any(depth + 1));
      }
    } else if (value.kind == '"') {
      value.text = string();
    } else if (value.kind == 't' || value.kind == 'f' || value.kind == 'n') {
      need(value.kind == 't' ? "true" : value.kind == 'f' ? "false" : "null");
    } else {
      const char* first = at_;
      skip('-');
      if (!skip('0') && !digits()) fail();
      if (skip('.') && !digits()) fail();
      if (skip('e') || skip('E')) {
        if (!skip('+')) skip('-');
        if (!digits()) fail();
      }
      value.kind = '0';
      value.text.assign(first, at_);
    }
    return value;
  }

  std::string string() {
    need("\"");
    std::string text;
    while (!skip('"')) {
      if (at_ >= end_ || static_cast<unsigned char>(*at_) < 32) fail();
      if (!skip('\\')) {
        text += *at_++;
        continue;
      }
      static const char kFrom[] = "\"\\/bfnrt", kTo[] = "\"\\/\b\f\n\r\t";
      const char* found = peek() ? std::strchr(kFrom, peek()) : nullptr;
      if (found) {
        text += kTo[found - kFrom];
        ++at_;
      } else {
        need("u");
        uint32_t code = four();
        if (code >= 0xd800 && code < 0xdc00) {
          need("\\u");
          uint32_t low = four();
          if (low < 0xdc00 || low > 0xdfff) fail();
          code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
        } else if (code >= 0xdc00 && code < 0xe000) {
          fail();
        }
        append(text, code);
      }
    }
    return text;
  }

  uint32_t four() {
    uint32_t code = 0;
    for (int i = 0; i < 4; ++i, ++at_) {
      const char* found = peek() ? std::strchr("0123456789abcdef", peek() | (peek() > '9' ? 32 : 0)) : nullptr;
      if (!found) fail();
      code = code * 16 + static_cast<uint32_t>(*found <= '9' ? *found - '0' : *found - 'a' + 10);
    }
    return code;
  }

  static void append(std::string& text, uint32_t code) {
    int more = code < 0x80 ? 0 : code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    static const int kLead[] = {0, 0xc0, 0xe0, 0xf0};
    text += static_cast<char>(kLead[more] | code >> 6 * more);
    while (more--) text += static_cast<char>(0x80 | (code >> 6 * more & 0x3f));
  }

  const char *at_, *begin_, *end_;
};

}  // namespace detail
}  // namespace tenfold
