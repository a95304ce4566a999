#pragma once

#include <cstddef>
#include <functional>

namespace rehook {

// Calls `work` with every number below `count`, each once, in no particular order. Helpers are
// started, one for each `worth_a_thread` of them beyond the first ones and at most one for each
// further processor; with few numbers the caller does it all. Returns when everything is done.
// `work` must be safe to call from several threads at once, and runs there with all signals
// blocked: those are for the threads of the program.
void for_each_number(std::size_t count, std::size_t worth_a_thread,
                     const std::function<void(std::size_t)>& work);

}  // namespace rehook
