#include "heddle/decode/fair_queue.h"

#include <algorithm>

namespace heddle::decode {

namespace {

constexpr int64_t kQuantum = 128;  // tokens a round: a few sentences

}  // namespace

int64_t FairQueue::estimate(std::string_view line) { return (std::ssize(line) + 3) / 4 + 1; }

Verdict FairQueue::admits(const std::string& client, int64_t tokens) const {
  if (tokens > limit_) return Verdict::too_large;
  const auto place = clients_.find(client);
  const int64_t own = place == clients_.end() ? 0 : place->second.tokens;
  if (own == tokens_) return own + tokens <= limit_ ? Verdict::accepted : Verdict::full;
  if (own + tokens > limit_ / 2) return Verdict::client_full;
  int64_t counted = 0;
  for (const auto& [name, other] : clients_) counted += std::min(other.tokens, limit_ / 2);
  return counted + tokens <= limit_ ? Verdict::accepted : Verdict::full;
}

void FairQueue::add(const TaskPointer& task) {
  for (const std::string& line : task->submission.lines) task->waiting_tokens += estimate(line);
  const Entry client = clients_.try_emplace(task->submission.client).first;
  client->second.tokens += task->waiting_tokens;
  tokens_ += task->waiting_tokens;
  if (client->second.tasks.empty()) ring_.push_back(client);
  client->second.tasks.push_back(task);
}

FairQueue::Turn FairQueue::take() {
  while (ring_.front()->second.deficit <= 0) {
    ring_.front()->second.deficit += kQuantum;
    ring_.push_back(ring_.front());
    ring_.pop_front();
  }
  Client& client = ring_.front()->second;
  const TaskPointer task = std::move(client.tasks.front());
  client.tasks.pop_front();
  const size_t line = task->next_line++;
  client.deficit -= estimate(task->submission.lines[line]);
  if (task->next_line < task->submission.lines.size()) client.tasks.push_back(task);
  // What it owes is kept as long as it waits for anything, what it has left is not.
  if (client.tasks.empty()) {
    client.deficit = std::min<int64_t>(client.deficit, 0);
    ring_.pop_front();
  }
  return {task, line};
}

void FairQueue::settle(ServiceTask& task, int64_t tokens) {
  const Entry client = clients_.find(task.submission.client);
  task.waiting_tokens += tokens;
  client->second.tokens += tokens;
  tokens_ += tokens;
  forget_if_empty(client);
}

void FairQueue::remove(const TaskPointer& task) {
  const Entry client = clients_.find(task->submission.client);
  if (client == clients_.end()) return;  // nothing of it waits
  const size_t removed = std::erase(client->second.tasks, task);
  if (removed > 0 && client->second.tasks.empty()) std::erase(ring_, client);
  client->second.tokens -= task->waiting_tokens;
  tokens_ -= task->waiting_tokens;
  task->waiting_tokens = 0;
  forget_if_empty(client);
}

void FairQueue::forget_if_empty(Entry client) {
  if (client->second.tokens == 0 && client->second.tasks.empty()) clients_.erase(client);
}

}  // namespace heddle::decode
