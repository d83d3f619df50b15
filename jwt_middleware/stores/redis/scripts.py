"""The Lua scripts that change the rows of `rows.py`, each in one shard.

A script reads everything first, then it writes: if a read fails, because a Cluster is moving the
slot, nothing has been written. Its first write is a SET, which a full memory or disk refuses.

A shard's log of ends is a sorted set: the ids, and as score the time in milliseconds. So that a
reader can go on from the highest score that it has read, scores only grow: a score is the time, or
1/1024 more than the highest one where the clock isn't beyond that (two ends in one millisecond, a
clock that was set back). A number of 64 bits has room for that until the year 2248. A process of
the former version writes the time alone.

WAIT waits only for writes of its own connection. Ending a grant that has ended already may be the
second try of an end that no replica received in time. So it must write something for WAIT to wait
for: `confirm` writes, and changes nothing.

A replica answers a script that writes nothing, from data that may be old. So a script that has
nothing to write tries to delete a key that isn't there: `from_primary`. That is refused for other
reasons, too, when the disk is full; then what was read is right.
"""

from __future__ import annotations

from hashlib import sha1
from typing import Final

NOWHERE: Final = (
    b"?"  # while a slot is moving: the further fields of a grant must be asked for again
)
NO_MARK: Final = b"-"  # as an argument: there is no mark
UNKNOWN_MARK: Final = "MARK"  # the code of the error: ask for the mark, and give it as an argument

# The engine's time in milliseconds, shifted by ARGV[1], for tests; how the shard's keys begin.
_NOW: Final = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000) + ARGV[1]
local tag = string.match(KEYS[1], '^.-}')
"""
# The key of a grant's further fields, from that of its row.
_BESIDE: Final = """
local function beside(key)
  return (string.gsub(key, '}g', '}m', 1))
end
"""
_FROM_PRIMARY: Final = """
local function from_primary(answer)
  local tried = redis.pcall('DEL', tag .. 'n')
  if type(tried) == 'table' and string.find(tried.err, 'READONLY', 1, true) then
    return redis.error_reply('READONLY a replica')
  end
  return answer
end
"""
# `before` and `made_at` of the mark of a mass end, in text; grants that began before it have ended.
# A slot that is moving: at the node that it leaves a key that isn't there is an error, at the other
# node only one of two keys that isn't there. Then ARGV[2] is the mark, which the caller has looked
# for at both nodes.
_MARK: Final = """
local before, made_at = 0, ''
local function read_mark()
  local mark = redis.pcall('GET', tag .. 't')
  if not mark then
    local there = redis.pcall('EXISTS', KEYS[1], tag .. 't')
    if type(there) == 'table' then mark = there end
  end
  if type(mark) == 'table' then mark = ARGV[2] end
  if mark == '' then return redis.error_reply('MARK unknown') end
  if mark and mark ~= '-' then
    before, made_at = string.match(mark, '^(%d+) (%d+)$')
    before = tonumber(before)
  end
end
local function ended_by_mark(row)
  return struct.unpack('>I6', row, 13) < before
end
"""
# KEYS[2] is the shard's log, KEYS[1] mostly the subject's index, ARGV[3] how long the log is kept.
_GRANTS: Final = (
    _MARK
    + """
local unknown = read_mark()
if unknown then return unknown end
local index, log, keep = KEYS[1], KEYS[2], tonumber(ARGV[3])
local head = string.sub(tag, 1, -4)
local function living()
  local found, packed = {}, redis.call('GET', index)
  for _, id in ipairs(packed and cmsgpack.unpack(packed) or {}) do
    local key = head .. string.sub(id, 1, 1) .. ':}g' .. string.sub(id, 2)
    local row = redis.call('GET', key)
    -- Where the slot is moving, and only there, this is an error: the row may be at the other node.
    if not row then redis.call('EXISTS', index, key) end
    if row and not string.find(row, '\\253', 25, true) and not ended_by_mark(row) then
      local expires = struct.unpack('>I6', row, 19)
      if now < expires then
        found[#found + 1] = {id = id, key = key, row = row, expires = expires}
      end
    end
  end
  return found
end
local function finish(grants, reason)
  local ids, ending = {}, string.format('\\253%.0f\\255', now)
  local highest = #grants > 0 and redis.call('ZREVRANGE', log, 0, 0, 'WITHSCORES')[2]
  local score = highest and math.max(now, tonumber(highest) + 1 / 1024) or now
  for i, one in ipairs(grants) do
    redis.call('SET', one.key, one.row .. ending .. reason, 'KEEPTTL')
    redis.call('ZADD', log, string.format('%.17g', score), one.id)
    score = score + 1 / 1024
    ids[i] = one.id
  end
  if #ids > 0 then
    redis.call('ZREMRANGEBYSCORE', log, '-inf', now - keep)
    redis.call('PEXPIRE', log, keep)
  end
  return ids
end
local function confirm()
  redis.call('PEXPIRE', log, keep)
end
local function remember(grants)
  local ids, expires = {}, 0
  for i, one in ipairs(grants) do
    ids[i] = one.id
    expires = math.max(expires, one.expires)
  end
  if #ids > 0 then
    redis.call('SET', index, cmsgpack.pack(ids), 'PX', expires - now)
  else
    redis.call('DEL', index)
  end
end
"""
)
# ARGV[1] is the shift of the clock, ARGV[2] the mark where the caller had to look for it.
_SCRIPTS: Final = {
    # KEYS index, log, row; ARGV ..., keep, id, row, expires_at, limit, what it has more
    "add": _NOW
    + _BESIDE
    + _GRANTS
    + """
if redis.call('EXISTS', KEYS[3]) == 1 then return {} end
local grants, over, rest = living(), {}, {}
local expires, limit = tonumber(ARGV[6]), tonumber(ARGV[7])
local created = struct.pack('>I6', math.max(now, before))
local row = string.sub(ARGV[5], 1, 12) .. created .. string.sub(ARGV[5], 19)
if now < expires then
  grants[#grants + 1] = {id = ARGV[4], key = KEYS[3], row = row, expires = expires}
end
local lasts = math.max(expires - now, 1)
redis.call('SET', KEYS[3], row, 'PX', lasts)
if ARGV[8] ~= '' then redis.call('SET', beside(KEYS[3]), ARGV[8], 'PX', lasts) end
for i, one in ipairs(grants) do
  local part = i <= #grants - limit and over or rest
  part[#part + 1] = one
end
local ids = finish(over, 'limit')
remember(rest)
return ids
""",
    # KEYS row; ARGV ..., source, target (both as in a row), parent
    # What is beside the row and the mark aren't among the KEYS, or no refresh would be served while
    # the slot is moving and one of them isn't there. Mostly there is neither, and that is told by
    # one question, which is an error while the slot is moving: then whoever asks looks for them at
    # both nodes. Functions stand where they are needed, because it takes time to make them.
    "advance": _NOW
    + """
local row, more = redis.call('GET', KEYS[1]), false
local lives = row and now < struct.unpack('>I6', row, 19)
local key = tag .. 'm' .. string.sub(KEYS[1], #tag + 2)
local is_alone = lives and redis.pcall('EXISTS', KEYS[1], key, tag .. 't') == 1
local has_ended = lives and string.find(row, '\\253', 25, true)
local can = lives and not has_ended and ARGV[3] ~= ARGV[4] and string.sub(row, 1, 6) == ARGV[3]
-- A fifth octet 255 stands before the key that a grant is bound to: such a row never moves.
can = can and select(2, string.gsub(string.sub(row, 25), '\\255', '')) < 5
if not is_alone or not can then
"""
    + _FROM_PRIMARY
    + _MARK
    + """
  if not lives then return from_primary(false) end
  if not is_alone then
    local unknown = read_mark()
    if unknown then return unknown end
    local there = redis.pcall('EXISTS', KEYS[1], key)
    if type(there) == 'table' then
      more = '?'
    elseif there == 2 then
      more = redis.call('GET', key)
    end
    if not has_ended and ended_by_mark(row) then
      can, row = false, row .. '\\253' .. made_at .. '\\255end_before'
    end
  end
  if not can then return from_primary(more and {'0' .. row, more} or '0' .. row) end
end
row = ARGV[4] .. struct.pack('>I6', now) .. string.sub(row, 13, 24) .. ARGV[5]
  .. string.sub(row, string.find(row, '\\255', 25, true), -1)
redis.call('SET', KEYS[1], row, 'KEEPTTL')
return more and {'1' .. row, more} or '1' .. row
""",
    # KEYS row, beside it; ARGV ...
    "use": _NOW
    + _MARK
    + """
local unknown = read_mark()
if unknown then return unknown end
local row = redis.call('GET', KEYS[1])
if not row or string.find(row, '\\253', 25, true) or ended_by_mark(row) then return 0 end
local expires = struct.unpack('>I6', row, 19)
if now >= expires then return 0 end
local more = redis.call('GET', KEYS[2]) or string.rep('\\255', 12) .. '\\0'
redis.call('SET', KEYS[2], struct.pack('>I6', now) .. string.sub(more, 7), 'PX', expires - now)
return 1
""",
    # KEYS row, log; ARGV ..., keep, id, reason
    "end": _NOW
    + _FROM_PRIMARY
    + _GRANTS
    + """
local row = redis.call('GET', KEYS[1])
if not row or now >= struct.unpack('>I6', row, 19) then return from_primary(0) end
if string.find(row, '\\253', 25, true) or ended_by_mark(row) then
  confirm()
  return 0
end
local subject = string.match(row, '\\255(.-)\\255', 25)
index = tag .. 's' .. string.sub(redis.sha1hex(subject), 1, 22)
local rest = {}
for _, one in ipairs(living()) do
  if one.id ~= ARGV[4] then rest[#rest + 1] = one end
end
finish({{id = ARGV[4], key = KEYS[1], row = row}}, ARGV[5])
remember(rest)
return 1
""",
    # KEYS index, log; ARGV ..., keep, reason
    "end_subject": _NOW
    + _GRANTS
    + """
local ids = finish(living(), ARGV[4])
if #ids > 0 then redis.call('DEL', index) else confirm() end
return ids
""",
    # KEYS index, log; ARGV ..., keep
    "grants": _NOW
    + _BESIDE
    + _FROM_PRIMARY
    + _GRANTS
    + """
local found = {}
for _, one in ipairs(living()) do
  found[#found + 1] = one.id
  found[#found + 1] = one.row
  local key = beside(one.key)
  local more = redis.call('GET', key)
  if not more then redis.call('EXISTS', one.key, key) end
  found[#found + 1] = more
end
return from_primary(found)
""",
    # KEYS the mark; ARGV ..., before, made_at. It is written again where it stays, for WAIT.
    "end_before": """
local mark = redis.call('GET', KEYS[1])
if not mark or tonumber(string.match(mark, '^%d+')) < tonumber(ARGV[3]) then
  mark = ARGV[3] .. ' ' .. ARGV[4]
end
redis.call('SET', KEYS[1], mark)
return mark
""",
    # KEYS key; ARGV ..., until. Compared here, too: the engine can't know a shifted time.
    "admit": _NOW
    + """
local seen, ends = redis.call('GET', KEYS[1]), tonumber(ARGV[3])
if seen and tonumber(seen) > now then return 0 end
redis.call('SET', KEYS[1], ARGV[3], 'PX', math.max(ends - now, 1))
return 1
""",
}
SCRIPTS: Final = {name: text.encode() for name, text in _SCRIPTS.items()}
DIGESTS: Final = {
    name: sha1(text, usedforsecurity=False).hexdigest().encode() for name, text in SCRIPTS.items()
}
TEXTS: Final = {DIGESTS[name]: text for name, text in SCRIPTS.items()}
