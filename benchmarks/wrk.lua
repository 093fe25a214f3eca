-- Sends the same POST body repeatedly and prints the summary as one line of JSON.
-- Arguments after `--`: the file with the body, its content type, and "few" if there are few answers.
-- A file *.list has one file name per line; the contents of these files are sent in turn.

local ffi = require("ffi")
ffi.cdef[[
  typedef struct { long seconds; long nanoseconds; } foveal_timespec;
  int clock_gettime(int clock, foveal_timespec *now);
]]

local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

local MONOTONIC = 1
local now = ffi.new("foveal_timespec")

local function seconds()
  ffi.C.clock_gettime(MONOTONIC, now)
  return tonumber(now.seconds) + tonumber(now.nanoseconds) / 1e9
end

local function contents(path)
  local file = assert(io.open(path, "rb"))
  local found = file:read("*a")
  file:close()
  return found
end

local function take_turns(paths)
  local requests = {}
  for path in paths:gmatch("[^\n]+") do
    table.insert(requests, wrk.format(nil, nil, nil, contents(path)))
  end
  local turn = 0
  function request()
    turn = turn % #requests + 1
    return requests[turn]
  end
end

function init(arguments)
  wrk.method = "POST"
  wrk.headers["Content-Type"] = arguments[2]
  if arguments[1]:match("%.list$") then
    take_turns(contents(arguments[1]))
  else
    wrk.body = contents(arguments[1])
  end
  began = seconds()
  last = began
  if arguments[3] == "few" then
    -- If a batch takes a second, the unfinished part at the end is large: count up to the last answer.
    function response()
      last = seconds()
    end
  end
end

function done(summary, latency)
  local elapsed = summary.duration / 1e6
  local last_answer = 0
  for _, thread in ipairs(threads) do
    last_answer = math.max(last_answer, thread:get("last") - thread:get("began"))
  end
  if last_answer > 0 then
    elapsed = last_answer
  end
  io.write(string.format(
    'summary {"requests": %d, "seconds": %.6f, "p50_ms": %.4f, "p99_ms": %.4f, '
      .. '"refused": %d, "unanswered": %d}\n',
    summary.requests, elapsed, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    summary.errors.status,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
  ))
end
