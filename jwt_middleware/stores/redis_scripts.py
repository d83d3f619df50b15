"""The rows of grants in Redis, and the scripts that change them: both know each octet.

First a script reads everything, then it writes: should a read fail, because a Cluster is just
moving the slot, nothing is done by half. And its first write is a SET, which a full memory or disk
refuses.
"""

import struct
from collections.abc import Iterable
from hashlib import sha1
from json import dumps, loads
from typing import Any, Final

from ..jose.strict import parse_object
from ..values.errors import StoreUnavailable
from ..values.frozen import FrozenDict
from ..values.model import Grant

# A row: generation, rotated_at, created_at, expires_at, ended_at (0: alive), 6 octets each, times
# in milliseconds; parent, with its length + 1 in 3 octets (0: None); then [subject, client_id,
# scope, bound_key if any] as JSON, a line feed, the claims as JSON if any, and once the grant has
# ended a line feed and the reason. JSON on one line has no line feed in it.
HEAD: Final = struct.Struct(">HIHIHIHIHIBH")

# A script finds the engine's time in milliseconds, shifted by ARGV[1], in `now`.
_NOW: Final = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000) + ARGV[1]
"""
_ENDING: Final = """
local head = string.match(KEYS[2], '^(.-).:}')
local index, log, keep = KEYS[1], KEYS[2], tonumber(ARGV[2])
local function living()
  local found, packed = {}, redis.call('GET', index)
  for _, id in ipairs(packed and cmsgpack.unpack(packed) or {}) do
    local key = head .. string.sub(id, 1, 1) .. ':}g' .. string.sub(id, 2)
    local row = redis.call('GET', key)
    if row then
      local expires, ended = struct.unpack('>I6I6', row, 19)
      if ended == 0 and now < expires then
        found[#found + 1] = {id = id, key = key, row = row, expires = expires}
      end
    end
  end
  return found
end
local function finish(grants, reason)
  local ids = {}
  for i, one in ipairs(grants) do
    local row = string.sub(one.row, 1, 24) .. struct.pack('>I6', now) .. string.sub(one.row, 31)
    redis.call('SET', one.key, row .. '\\n' .. reason, 'KEEPTTL')
    redis.call('ZADD', log, now, one.id)
    ids[i] = one.id
  end
  if #ids > 0 then
    redis.call('ZREMRANGEBYSCORE', log, '-inf', now - keep)
    redis.call('PEXPIRE', log, keep)
  end
  return ids
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
_SCRIPTS: Final = {
    # KEYS index, log, row; ARGV offset, keep, id, row, expires_at, limit
    "add": _NOW
    + _ENDING
    + """
if redis.call('EXISTS', KEYS[3]) == 1 then return {} end
local grants, over, rest = living(), {}, {}
local expires, limit = tonumber(ARGV[5]), tonumber(ARGV[6])
if now < expires then
  grants[#grants + 1] = {id = ARGV[3], key = KEYS[3], row = ARGV[4], expires = expires}
end
redis.call('SET', KEYS[3], ARGV[4], 'PX', math.max(expires - now, 1))
for i, one in ipairs(grants) do
  local part = i <= #grants - limit and over or rest
  part[#part + 1] = one
end
local ids = finish(over, 'limit')
remember(rest)
return ids
""",
    # KEYS row; ARGV offset, source, target, parent
    "advance": _NOW
    + """
local row = redis.call('GET', KEYS[1])
if not row then return false end
local generation, _, _, expires, ended, length = struct.unpack('>I6I6I6I6I6I3', row)
if now >= expires then return false end
if ended > 0 or generation ~= tonumber(ARGV[2]) or ARGV[2] == ARGV[3] then return '0' .. row end
row = struct.pack('>I6I6', ARGV[3], now) .. string.sub(row, 13, 30) .. ARGV[4]
  .. string.sub(row, 34 + math.max(length - 1, 0))
redis.call('SET', KEYS[1], row, 'KEEPTTL')
return '1' .. row
""",
    # KEYS row, log; ARGV offset, keep, id, reason
    "end": _NOW
    + _ENDING
    + """
local row = redis.call('GET', KEYS[1])
if not row then return 0 end
local expires, ended, length = struct.unpack('>I6I6I3', row, 19)
if ended > 0 or now >= expires then return 0 end
local whose = string.match(row, '^[^\\n]*', 34 + math.max(length - 1, 0))
local digest = string.sub(redis.sha1hex(cjson.decode(whose)[1]), 1, 22)
index = string.match(log, '^.-}') .. 's' .. digest
local rest = {}
for _, one in ipairs(living()) do
  if one.id ~= ARGV[3] then rest[#rest + 1] = one end
end
finish({{id = ARGV[3], key = KEYS[1], row = row}}, ARGV[4])
remember(rest)
return 1
""",
    # KEYS index, log; ARGV offset, keep, reason
    "end_subject": _NOW
    + _ENDING
    + """
local grants = living()
if #grants == 0 then return {} end
local ids = finish(grants, ARGV[3])
redis.call('DEL', index)
return ids
""",
    # KEYS index, log; ARGV offset, keep
    "grants": _NOW
    + _ENDING
    + """
local found = {}
for _, one in ipairs(living()) do
  found[#found + 1] = one.id
  found[#found + 1] = one.row
end
return found
""",
    # KEYS key; ARGV offset, until. Later than the engine would forget it: its time may be shifted.
    "admit": _NOW
    + """
local before, ends = redis.call('GET', KEYS[1]), tonumber(ARGV[2])
if before and tonumber(before) > now then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', math.max(ends - now, 1))
return 1
""",
}
SCRIPTS: Final = {name: text.encode() for name, text in _SCRIPTS.items()}
DIGESTS: Final = {
    name: sha1(text, usedforsecurity=False).hexdigest().encode() for name, text in SCRIPTS.items()
}
TEXTS: Final = {DIGESTS[name]: text for name, text in SCRIPTS.items()}


def milliseconds(seconds: float) -> int:
    return round(1000 * seconds)


def sized(text: str | None) -> bytes:
    if text is None:
        return b"\0\0\0"
    octets = text.encode()
    return (len(octets) + 1).to_bytes(3, "big") + octets


def packed(grant: Grant) -> bytes:
    times = [milliseconds(one) for one in (grant.rotated_at, grant.created_at, grant.expires_at)]
    whose = [grant.subject, grant.client_id, grant.scope]
    if grant.bound_key is not None:
        whose.append(grant.bound_key)
    claims = _json(grant.claims) if grant.claims else b""
    head = b"".join(one.to_bytes(6, "big") for one in (grant.generation, *times, 0))
    return b"%b%b%b\n%b" % (head, sized(grant.parent), _json(whose), claims)


def _json(value: Any) -> bytes:
    return dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def unpacked(grant_id: str, octets: bytes, start: int = 0) -> Grant:
    try:
        a, generation, b, rotated, c, created, d, expires, e, ended, f, length = HEAD.unpack_from(
            octets, start
        )
        start += HEAD.size
        size = (f << 16) + length
        end = start + size - 1 if size else start
        whose, claims, *reason = octets[end:].split(b"\n", 2)
        subject, client_id, scope, *key = loads(whose)
        return Grant(
            id=grant_id,
            subject=subject,
            client_id=client_id,
            scope=scope,
            claims=parse_object(claims) if claims else NOTHING,
            bound_key=key[0] if key else None,
            generation=(a << 32) + generation,
            parent=octets[start:end].decode() if size else None,
            rotated_at=((b << 32) + rotated) / 1000,
            created_at=((c << 32) + created) / 1000,
            expires_at=((d << 32) + expires) / 1000,
            ended_at=((e << 32) + ended) / 1000 if reason else None,
            end_reason=reason[0].decode() if reason else None,
        )
    except (ValueError, struct.error):
        raise StoreUnavailable("a damaged row") from None


def texts(found: Iterable[bytes]) -> tuple[str, ...]:
    return tuple([one.decode() for one in found])


NOTHING: Final = FrozenDict()
