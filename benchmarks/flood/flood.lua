-- Clients that send one body, wait after each answer, and count answers by status and time.
-- Arguments after `--`: the file with the body, its content type, and the mean seconds between answer and request.
--
-- wrk does not say which request an answer belongs to. So each request has the time of its sending as its id, which the
-- service repeats.

local ffi = require("ffi")
ffi.cdef[[
  typedef struct { long seconds; long nanoseconds; } foveal_timespec;
  int clock_gettime(int clock, foveal_timespec *now);
]]

local BINS_PER_E = 50 -- as in crowd.py
local MONOTONIC = 1
local now = ffi.new("foveal_timespec")
local threads = {}

local function microseconds()
  ffi.C.clock_gettime(MONOTONIC, now)
  return tonumber(now.seconds) * 1e6 + math.floor(tonumber(now.nanoseconds) / 1e3)
end

function setup(thread)
  table.insert(threads, thread)
end

function init(arguments)
  local file = assert(io.open(arguments[1], "rb"))
  local body = file:read("*a")
  file:close()
  wait_ms = tonumber(arguments[3]) * 1e3
  bins = {}
  math.randomseed(os.time())
  wrk.method = "POST"
  wrk.headers["Content-Type"] = arguments[2]
  wrk.headers["X-Request-Id"] = "@"
  local whole = wrk.format(nil, nil, nil, body)
  local at = whole:find("X-Request-Id: @", 1, true) + #"X-Request-Id: "
  before, behind = whole:sub(1, at - 1), whole:sub(at + 1)
end

function request()
  return before .. string.format("%.0f", microseconds()) .. behind
end

function delay()
  return wait_ms * (0.5 + math.random())
end

function response(status, headers)
  local sent = tonumber(headers["x-request-id"])
  local took = sent and math.max(1, microseconds() - sent) or 1
  local key = status .. " " .. math.floor(BINS_PER_E * math.log(took))
  bins[key] = (bins[key] or 0) + 1
end

function done(summary)
  local counts = {}
  for _, thread in ipairs(threads) do
    for key, count in pairs(thread:get("bins")) do
      counts[key] = (counts[key] or 0) + count
    end
  end
  local written = {}
  for key, count in pairs(counts) do
    table.insert(written, string.format('"%s": %d', key, count))
  end
  io.write(string.format(
    'counted {"seconds": %.6f, "bins": {%s}, "unanswered": %d}\n',
    summary.duration / 1e6, table.concat(written, ", "),
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
  ))
end
