// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/torch_file.h"

#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <memory>
#include <string_view>

#include "base/errors.h"
#include "checkpoint/torch_archive.h"

namespace megafold {
namespace {

struct Value;
using Ref = std::shared_ptr<Value>;

/// What a pickle of tensors can hold.
struct Value {
  enum Kind { none, number, text, sequence, dict, global, storage, tensor } kind = none;
  int64_t integer = 0;                          // number (a float is cut: nothing here needs one)
  std::string word = {};                        // text; global: "module name"; storage: its member
  std::vector<Ref> items = {};                  // sequence
  std::vector<std::pair<Ref, Ref>> pairs = {};  // dict
  at::ScalarType type = at::kFloat;             // storage
  at::Tensor value = {};                        // tensor
  int depth = 0;                                // of what it holds
};

constexpr std::array<std::pair<std::string_view, at::ScalarType>, 10> kStorages = {{
    {"torch DoubleStorage", at::kDouble},
    {"torch FloatStorage", at::kFloat},
    {"torch HalfStorage", at::kHalf},
    {"torch BFloat16Storage", at::kBFloat16},
    {"torch LongStorage", at::kLong},
    {"torch IntStorage", at::kInt},
    {"torch ShortStorage", at::kShort},
    {"torch CharStorage", at::kChar},
    {"torch ByteStorage", at::kByte},
    {"torch BoolStorage", at::kBool},
}};
constexpr std::string_view kRebuildTensor = "torch._utils _rebuild_tensor_v2",
                           kRebuildParameter = "torch._utils _rebuild_parameter",
                           kOrderedDict = "collections OrderedDict";

bool is_allowed(std::string_view name) {
  return name == kRebuildTensor || name == kRebuildParameter || name == kOrderedDict ||
         std::ranges::find(kStorages, name, &std::pair<std::string_view, at::ScalarType>::first) !=
             kStorages.end();
}

/// The interpreter of one pickle.
class Unpickler {
 public:
  explicit Unpickler(const TorchArchive& archive)
      : archive_(archive), code_(archive.member("data.pkl")) {}

  Ref run() {
    for (;;) {
      const auto op = read<uint8_t>();
      if (op == '.') return pop();
      step(op);
    }
  }

 private:
  template <class... Args>
  [[noreturn]] void broken(fmt::format_string<Args...> text, Args&&... args) const {
    fail<Corrupt>("{}: data.pkl, byte {}: {}", archive_.file(), at_,
                  fmt::format(text, std::forward<Args>(args)...));
  }
  template <class T>
  T read() {
    T value;
    if (code_.size() - at_ < sizeof(T)) broken("the pickle ends early");
    std::memcpy(&value, code_.data() + at_, sizeof(T));
    at_ += sizeof(T);
    return value;
  }
  std::string text(uint64_t size) {
    if (code_.size() - at_ < size) broken("the pickle ends early");
    std::string out(reinterpret_cast<const char*>(code_.data()) + at_, size);
    at_ += size;
    return out;
  }
  std::string line() {
    std::string out;
    for (char c = read<char>(); c != '\n'; c = read<char>()) out += c;
    return out;
  }
  static Ref make(Value value) { return std::make_shared<Value>(std::move(value)); }
  static Ref number(int64_t value) { return make({.kind = Value::number, .integer = value}); }

  Ref pop() {
    if (stack_.empty() || (!marks_.empty() && marks_.back() == stack_.size()))
      broken("nothing is left to take");
    Ref out = std::move(stack_.back());
    stack_.pop_back();
    return out;
  }
  Value& top(Value::Kind kind, const char* what) {
    if (stack_.empty() || stack_.back()->kind != kind) broken("{} was expected", what);
    return *stack_.back();
  }
  std::vector<Ref> pop_to_mark() {
    if (marks_.empty()) broken("no mark was set");
    std::vector<Ref> out(stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back()), stack_.end());
    stack_.resize(marks_.back());
    marks_.pop_back();
    return out;
  }
  void push_tuple(size_t count) {
    std::vector<Ref> items(count);
    for (size_t i = count; i-- > 0;) items[i] = pop();
    push_sequence(std::move(items));
  }
  void push_sequence(std::vector<Ref> items) {
    Value value{.kind = Value::sequence};
    for (const Ref& item : items) hold(value, item);
    value.items = std::move(items);
    stack_.push_back(make(std::move(value)));
  }
  /// A state dict is a few levels deep; a hostile one would exhaust the stack when it is dropped.
  void hold(Value& parent, const Ref& child) const {
    constexpr int kMaxDepth = 64;
    parent.depth = std::max(parent.depth, child->depth + 1);
    if (parent.depth > kMaxDepth) broken("more than {} levels of nesting", kMaxDepth);
  }
  void push_global(const std::string& module, const std::string& name) {
    const std::string full = module + " " + name;
    if (!is_allowed(full))
      fail<BadInput>(
          "{}: its pickle names {}.{}, which no state dict of tensors needs; it is refused, and "
          "nothing was executed",
          archive_.file(), module, name);
    stack_.push_back(make({.kind = Value::global, .word = full}));
  }
  void push_memo(uint64_t index) {
    const auto found = memo_.find(index);
    if (found == memo_.end()) broken("there is no memo {}", index);
    stack_.push_back(found->second);
  }
  void set_memo(uint64_t index) {
    if (stack_.empty()) broken("nothing to remember");
    memo_[index] = stack_.back();
  }
  void push_long() {
    const auto size = read<uint8_t>();
    if (size > 8) broken("a number of {} bytes", size);
    uint64_t value = 0;
    for (unsigned i = 0; i < size; ++i) value |= uint64_t{read<uint8_t>()} << (8 * i);
    if (size > 0 && size < 8 && (value >> (8 * size - 1)) != 0) value |= ~uint64_t{0} << (8 * size);
    stack_.push_back(number(static_cast<int64_t>(value)));
  }

  /// ('storage', type, member, device, number of elements)
  void push_storage() {
    const Ref id = pop();
    if (id->kind != Value::sequence || id->items.size() < 5 || id->items[0]->word != "storage" ||
        id->items[1]->kind != Value::global || id->items[2]->kind != Value::text)
      broken("a persistent id is no storage");
    const auto* const type = std::ranges::find(kStorages, std::string_view(id->items[1]->word),
                                               &std::pair<std::string_view, at::ScalarType>::first);
    if (type == kStorages.end()) broken("'{}' is no type of storage", id->items[1]->word);
    stack_.push_back(
        make({.kind = Value::storage, .word = "data/" + id->items[2]->word, .type = type->second}));
  }

  std::vector<int64_t> integers(const Ref& value) const {
    if (value->kind != Value::sequence) broken("a shape is no tuple");
    std::vector<int64_t> out;
    for (const Ref& item : value->items) {
      if (item->kind != Value::number || item->integer < 0) broken("a shape holds no number");
      out.push_back(item->integer);
    }
    return out;
  }

  /// (storage, offset, size, stride, requires_grad, hooks, ..)
  Ref rebuild_tensor(const Value& arguments) const {
    const auto& a = arguments.items;
    if (arguments.kind != Value::sequence || a.size() < 4 || a[0]->kind != Value::storage ||
        a[1]->kind != Value::number || a[1]->integer < 0)
      broken("a tensor is built of something else than a storage");
    const auto bytes = archive_.member(a[0]->word);
    const std::vector<int64_t> size = integers(a[2]), stride = integers(a[3]);
    if (size.size() != stride.size()) broken("{} sizes, {} strides", size.size(), stride.size());
    const uint64_t have = bytes.size() / at::elementSize(a[0]->type);
    auto last = static_cast<unsigned __int128>(a[1]->integer);  // the farthest element
    bool empty = false;
    for (size_t d = 0; d < size.size(); ++d) {
      empty |= size[d] == 0;
      last += static_cast<unsigned __int128>(std::max<int64_t>(size[d] - 1, 0)) *
              static_cast<unsigned __int128>(stride[d]);
    }
    if (!empty && last >= have)
      broken("a tensor reaches beyond the {} elements of {}", have, a[0]->word);
    // An odd place in the file would be misaligned: torch aligns members to 64 bytes.
    const auto options = at::TensorOptions(a[0]->type);
    at::Tensor value;
    if (empty) {
      value = at::empty(size, options);
    } else {
      const std::byte* const first =
          bytes.data() + static_cast<uint64_t>(a[1]->integer) * at::elementSize(a[0]->type);
      if (reinterpret_cast<uintptr_t>(first) % at::elementSize(a[0]->type) != 0)
        broken("{} is not aligned", a[0]->word);
      value = at::from_blob(
          const_cast<std::byte*>(first), size, stride, [keep = archive_.bytes()](void*) {},
          options);
    }
    Value out{.kind = Value::tensor};
    out.value = value;
    return make(std::move(out));
  }

  void reduce() {
    const Ref arguments = pop(), callee = pop();
    if (callee->kind != Value::global) broken("something is called that has no name");
    if (callee->word == kOrderedDict) {
      stack_.push_back(make({.kind = Value::dict}));
    } else if (callee->word == kRebuildTensor) {
      stack_.push_back(rebuild_tensor(*arguments));
    } else if (callee->word == kRebuildParameter) {
      if (arguments->kind != Value::sequence || arguments->items.empty() ||
          arguments->items[0]->kind != Value::tensor)
        broken("a parameter is built of something else than a tensor");
      stack_.push_back(arguments->items[0]);
    } else {
      broken("'{}' is called", callee->word);
    }
  }

  void step(uint8_t op) {
    switch (op) {
      case 0x80:  // PROTO
        (void)read<uint8_t>();
        break;
      case 0x95:  // FRAME
        (void)read<uint64_t>();
        break;
      case '(':
        marks_.push_back(stack_.size());
        break;
      case '0':
        (void)pop();
        break;
      case 'N':
        stack_.push_back(make({}));
        break;
      case 0x88:  // NEWTRUE
        stack_.push_back(number(1));
        break;
      case 0x89:  // NEWFALSE
        stack_.push_back(number(0));
        break;
      case 'J':
        stack_.push_back(number(read<int32_t>()));
        break;
      case 'K':
        stack_.push_back(number(read<uint8_t>()));
        break;
      case 'M':
        stack_.push_back(number(read<uint16_t>()));
        break;
      case 0x8a:  // LONG1
        push_long();
        break;
      case 'G':  // BINFLOAT: 8 bytes, big end first; the value is of no use here
        (void)read<uint64_t>();
        stack_.push_back(number(0));
        break;
      case 'X':
        stack_.push_back(make({.kind = Value::text, .word = text(read<uint32_t>())}));
        break;
      case 0x8c:  // SHORT_BINUNICODE
      case 'U':
        stack_.push_back(make({.kind = Value::text, .word = text(read<uint8_t>())}));
        break;
      case '}':
        stack_.push_back(make({.kind = Value::dict}));
        break;
      case ']':
      case ')':
        push_sequence({});
        break;
      case 't':
        push_sequence(pop_to_mark());
        break;
      case 0x85:
      case 0x86:
      case 0x87:  // TUPLE1 .. TUPLE3
        push_tuple(op - size_t{0x84});
        break;
      case 'a': {
        const Ref item = pop();
        Value& list = top(Value::sequence, "a list");
        hold(list, item);
        list.items.push_back(item);
        break;
      }
      case 'e': {
        const auto items = pop_to_mark();
        Value& list = top(Value::sequence, "a list");
        for (const Ref& item : items) hold(list, item);
        list.items.insert(list.items.end(), items.begin(), items.end());
        break;
      }
      case 's': {
        const Ref value = pop(), key = pop();
        Value& dict = top(Value::dict, "a dict");
        hold(dict, value);
        dict.pairs.emplace_back(key, value);
        break;
      }
      case 'u': {
        const auto items = pop_to_mark();
        if (items.size() % 2 != 0) broken("a key without a value");
        Value& dict = top(Value::dict, "a dict");
        for (size_t i = 0; i < items.size(); i += 2) {
          hold(dict, items[i + 1]);
          dict.pairs.emplace_back(items[i], items[i + 1]);
        }
        break;
      }
      case 'b':  // BUILD: attributes, such as a state dict's _metadata, are of no use here
        (void)pop();
        break;
      case 'c': {
        const std::string module = line(), name = line();
        push_global(module, name);
        break;
      }
      case 0x93: {  // STACK_GLOBAL
        const Ref name = pop(), module = pop();
        if (name->kind != Value::text || module->kind != Value::text) broken("a name is no text");
        push_global(module->word, name->word);
        break;
      }
      case 'Q':
        push_storage();
        break;
      case 'R':
        reduce();
        break;
      case 'q':
        set_memo(read<uint8_t>());
        break;
      case 'r':
        set_memo(read<uint32_t>());
        break;
      case 0x94:  // MEMOIZE
        set_memo(memo_.size());
        break;
      case 'h':
        push_memo(read<uint8_t>());
        break;
      case 'j':
        push_memo(read<uint32_t>());
        break;
      default:
        fail<BadInput>(
            "{}: its pickle has the instruction 0x{:02x}, which no state dict of tensors needs; it "
            "is refused, and nothing was executed",
            archive_.file(), op);
    }
  }

  const TorchArchive& archive_;
  std::span<const std::byte> code_;
  uint64_t at_ = 0;
  std::vector<Ref> stack_;
  std::vector<size_t> marks_;
  std::map<uint64_t, Ref> memo_;
};

using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

void collect(const Value& dict, const std::string& prefix, int depth, NamedTensors& out) {
  constexpr int kMaxDepth = 16;  // a dict may hold itself, by way of the memo
  if (depth > kMaxDepth) return;
  for (const auto& [key, value] : dict.pairs) {
    if (key->kind != Value::text) continue;
    if (value->kind == Value::tensor) out.emplace_back(prefix + key->word, value->value);
    if (value->kind == Value::dict) collect(*value, prefix + key->word + ".", depth + 1, out);
  }
}

}  // namespace

std::vector<std::pair<std::string, at::Tensor>> read_torch_state(
    const std::filesystem::path& path) {
  const TorchArchive archive(path);
  const Ref root = Unpickler(archive).run();
  if (root->kind != Value::dict) fail<BadInput>("{}: holds no dict of tensors", path.string());
  const Value* from = root.get();
  for (const std::string_view name : {"model", "state_dict", "ema"}) {
    const auto found = std::ranges::find_if(root->pairs, [&](const auto& pair) {
      return pair.first->word == name && pair.second->kind == Value::dict;
    });
    if (found == root->pairs.end()) continue;
    from = found->second.get();
    break;
  }
  NamedTensors out;
  collect(*from, "", 0, out);
  if (out.empty()) fail<BadInput>("{}: holds no tensors", path.string());
  constexpr std::string_view kModule = "module.";
  if (std::ranges::all_of(out, [&](const auto& t) { return t.first.starts_with(kModule); }))
    for (auto& [name, tensor] : out) name.erase(0, kModule.size());
  return out;
}

}  // namespace megafold
