-- wrk: POST one chat request after the other, each with the next key of a file.
-- wrk -s chat.lua URL -- KEYS_FILE MODEL HEADER

local keys, count, at = {}, 0, 0
local head, tail

function init(args)
  for key in io.lines(args[1]) do
    count = count + 1
    keys[count] = key
  end
  local body = '{"model":"' .. args[2] .. '","messages":[{"role":"system","content":'
    .. '"You are a helpful assistant."},{"role":"user","content":"Say something about a fox and '
    .. 'a dog, in one sentence, and do not forget the measure."}],"temperature":0.2}'
  head = "POST /v1/chat/completions HTTP/1.1\r\nHost: " .. wrk.host .. ":" .. wrk.port
    .. "\r\nAccept: application/json\r\nUser-Agent: bench\r\nAuthorization: Bearer "
  tail = "\r\n" .. (args[3] or "") .. "Content-Type: application/json\r\nContent-Length: " .. #body .. "\r\n\r\n" .. body
end

function request()
  at = at % count + 1
  return head .. keys[at] .. tail
end

function done(summary, latency, requests)
  local failed = summary.errors
  io.write(string.format(
    'RESULT {"requests":%d,"seconds":%f,"p50_ms":%f,"p99_ms":%f,"not_2xx":%d,"broken":%d}\n',
    summary.requests, summary.duration / 1e6,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000,
    failed.status, failed.connect + failed.read + failed.write + failed.timeout))
end
