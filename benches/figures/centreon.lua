-- What a stream connector does with each event, after its Broker decoded it: the same filter as
-- vigie's, on tables that are there already. Prints events a second.
local count, share = tonumber(arg[1]), tonumber(arg[2])
local HOSTS, SERVICES = 1000, 10

local accepted_categories = { [1] = true }
local accepted_elements = { [29] = true }
local accepted_states = { [1] = true, [2] = true, [3] = true }
local rejected_groups = { Laboratory = true }
local cache = {}
for host = 1, HOSTS do
  cache[host] = { name = "host" .. host, groups = { "Linux" }, services = {} }
  for service = 1, SERVICES do cache[host].services[service] = "service" .. service end
end

local function filter(event)
  if not accepted_categories[event.category] then return false end
  if not accepted_elements[event.element] then return false end
  if not accepted_states[event.state] then return false end
  if event.state_type ~= 1 then return false end
  if event.acknowledged or event.flapping then return false end
  if event.scheduled_downtime_depth > 0 then return false end
  local host = cache[event.host_id]
  if not host then return false end
  local description = host.services[event.service_id]
  if not description then return false end
  for _, group in ipairs(host.groups) do
    if rejected_groups[group] then return false end
  end
  event.host_name, event.service_description = host.name, description
  return true
end

local events = {}
for n = 1, count do
  local matters = n % 100 < share
  events[n] = {
    category = 1, element = 29, host_id = n % HOSTS + 1, service_id = n % SERVICES + 1,
    state = matters and 2 or 0, state_type = 1, acknowledged = false, flapping = false,
    scheduled_downtime_depth = 0, last_check = 1796000000 + n,
    output = "CRITICAL: load average is 5.21, 4.93, 4.02", perfdata = "load1=5.21;4;5 load5=4.93;3;4",
  }
end
collectgarbage()
local passed, began = 0, os.clock()
for n = 1, count do
  if filter(events[n]) then passed = passed + 1 end
end
print(math.floor(count / (os.clock() - began)), passed)
