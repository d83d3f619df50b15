"""The rows of grants in Redis, octet by octet, and the Lua scripts that change them.

A row: generation, rotated_at, created_at, expires_at, 6 octets each, times in milliseconds. Then in
UTF-8 parent, subject, client_id, scope, claims as JSON and, if any, bound_key, with an octet 255
between two; 254 is a parent that isn't known. Once the grant has ended: 253, ended_at in decimal,
255, the reason. These three octets are in no UTF-8 (RFC 3629 s3).

The former version would read a further field of a row as `bound_key`. So the further fields of a
grant have a key of their own beside the row, in the same slot and with the same expiry, and only
where one of them differs from its default: last_used_at and idle_limit in milliseconds, 6 octets
each, all 255 where there is none; then an octet of flags: 1 for a session, 2 if a label in UTF-8
follows.

WAIT waits only for writes of its own connection. Ending a grant that has ended already may be the
second try of an end that no replica received in time. So it must write something for WAIT to wait
for: `confirm` writes, and changes nothing.

A script reads everything first, then it writes: if a read fails, because a Cluster is moving the
slot, nothing has been written. Its first write is a SET, which a full memory or disk refuses.
"""

from __future__ import annotations

from hashlib import sha1
from struct import Struct, error
from typing import Any, Final

from ...jose.strict_json import to_json
from ...values.errors import StoreUnavailable
from ...values.tokens import Grant
from ..grant_rows import has_more, read_claims

_HEAD: Final = Struct(">HIHIHIHI")
_MORE_HEAD: Final = Struct(">HIHIB")
_NO_NUMBER: Final = b"\xff" * 6
_IS_SESSION, _HAS_LABEL = 1, 2
NOWHERE: Final = (
    b"?"  # while a slot is moving: the further fields of a grant must be asked for again
)
_BETWEEN, _UNKNOWN, _ENDED = b"\xff", b"\xfe", b"\xfd"
# The three octets decoded with "surrogateescape", so that one call decodes a row.
_BETWEEN_TEXT, _UNKNOWN_TEXT, _ENDED_TEXT = "\udcff", "\udcfe", "\udcfd"

# The engine's time in milliseconds, shifted by ARGV[1], for tests.
_NOW: Final = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000) + ARGV[1]
"""
# The key of the further fields, from the key of the row.
_BESIDE: Final = """
local function beside(key)
  return (string.gsub(key, '}g', '}m', 1))
end
"""
# KEYS[2] is the shard's log, KEYS[1] mostly the subject's index, ARGV[2] how long the log is kept.
_GRANTS: Final = """
local head = string.match(KEYS[2], '^(.-).:}')
local index, log, keep = KEYS[1], KEYS[2], tonumber(ARGV[2])
local function living()
  local found, packed = {}, redis.call('GET', index)
  for _, id in ipairs(packed and cmsgpack.unpack(packed) or {}) do
    local key = head .. string.sub(id, 1, 1) .. ':}g' .. string.sub(id, 2)
    local row = redis.call('GET', key)
    -- Where the slot is moving, and only there, this is an error: the row may be at the other node.
    if not row then redis.call('EXISTS', index, key) end
    if row and not string.find(row, '\\253', 25, true) then
      local expires = struct.unpack('>I6', row, 19)
      if now < expires then
        found[#found + 1] = {id = id, key = key, row = row, expires = expires}
      end
    end
  end
  return found
end
local function finish(grants, reason)
  local ids, mark = {}, string.format('\\253%.0f\\255', now)
  for i, one in ipairs(grants) do
    redis.call('SET', one.key, one.row .. mark .. reason, 'KEEPTTL')
    redis.call('ZADD', log, now, one.id)
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
_SCRIPTS: Final = {
    # KEYS index, log, row; ARGV offset, keep, id, row, expires_at, limit, what it has more
    "add": _NOW
    + _BESIDE
    + _GRANTS
    + """
if redis.call('EXISTS', KEYS[3]) == 1 then return {} end
local grants, over, rest = living(), {}, {}
local expires, limit = tonumber(ARGV[5]), tonumber(ARGV[6])
if now < expires then
  grants[#grants + 1] = {id = ARGV[3], key = KEYS[3], row = ARGV[4], expires = expires}
end
local lasts = math.max(expires - now, 1)
redis.call('SET', KEYS[3], ARGV[4], 'PX', lasts)
if ARGV[7] ~= '' then redis.call('SET', beside(KEYS[3]), ARGV[7], 'PX', lasts) end
for i, one in ipairs(grants) do
  local part = i <= #grants - limit and over or rest
  part[#part + 1] = one
end
local ids = finish(over, 'limit')
remember(rest)
return ids
""",
    # KEYS row; ARGV offset, source, target (both as in a row), parent
    "advance": _NOW
    + _BESIDE
    + """
local row = redis.call('GET', KEYS[1])
if not row or now >= struct.unpack('>I6', row, 19) then return false end
-- It isn't one of the KEYS, or no refresh would be served while the slot is moving and one of them
-- isn't there. Then this is an error, and whoever asks looks for it at both nodes.
local key, more = beside(KEYS[1]), false
local there = redis.pcall('EXISTS', KEYS[1], key)
if type(there) == 'table' then
  more = '?'
elseif there == 2 then
  more = redis.call('GET', key)
end
local can = ARGV[2] ~= ARGV[3] and string.sub(row, 1, 6) == ARGV[2]
if not can or string.find(row, '\\253', 25, true) then
  return more and {'0' .. row, more} or '0' .. row
end
row = ARGV[3] .. struct.pack('>I6', now) .. string.sub(row, 13, 24) .. ARGV[4]
  .. string.sub(row, string.find(row, '\\255', 25, true), -1)
redis.call('SET', KEYS[1], row, 'KEEPTTL')
return more and {'1' .. row, more} or '1' .. row
""",
    # KEYS row, beside it; ARGV offset
    "use": _NOW
    + """
local row = redis.call('GET', KEYS[1])
if not row or string.find(row, '\\253', 25, true) then return 0 end
local expires = struct.unpack('>I6', row, 19)
if now >= expires then return 0 end
local more = redis.call('GET', KEYS[2]) or string.rep('\\255', 12) .. '\\0'
redis.call('SET', KEYS[2], struct.pack('>I6', now) .. string.sub(more, 7), 'PX', expires - now)
return 1
""",
    # KEYS row, log; ARGV offset, keep, id, reason
    "end": _NOW
    + _GRANTS
    + """
local row = redis.call('GET', KEYS[1])
if not row or now >= struct.unpack('>I6', row, 19) then return 0 end
if string.find(row, '\\253', 25, true) then
  confirm()
  return 0
end
local subject = string.match(row, '\\255(.-)\\255', 25)
index = string.match(log, '^.-}') .. 's' .. string.sub(redis.sha1hex(subject), 1, 22)
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
    + _GRANTS
    + """
local ids = finish(living(), ARGV[3])
if #ids > 0 then redis.call('DEL', index) else confirm() end
return ids
""",
    # KEYS index, log; ARGV offset, keep
    "grants": _NOW
    + _BESIDE
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
return found
""",
    # KEYS key; ARGV offset, until. Compared here, too: the engine can't know a shifted time.
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
    """Return the nearest number of milliseconds."""
    return round(1000 * seconds)


def digest(subject: str) -> str:
    """Return the name of a subject's index, as the script "end" computes it.

    It keeps the key short, however long the subject is. It is SHA-1, because scripts have no other
    hash. If two subjects shared a digest, ending the grants of one would end those of the other.
    """
    return sha1(subject.encode(), usedforsecurity=False).hexdigest()[:22]


def six(number: int) -> bytes:
    """Return a number in 6 octets, as in a row."""
    return number.to_bytes(6, "big")


def parent_field(parent: str | None) -> bytes:
    """Return the field `parent` of a row."""
    return _UNKNOWN if parent is None else parent.encode()


def packed(grant: Grant) -> bytes:
    """Return the row of a grant that hasn't ended."""
    times = (grant.rotated_at, grant.created_at, grant.expires_at)
    head = b"".join(map(six, (grant.generation, *map(milliseconds, times))))
    claims = to_json(grant.claims) if grant.claims else ""
    fields = [grant.subject, grant.client_id, grant.scope, claims]
    if grant.bound_key is not None:
        fields.append(grant.bound_key)
    return head + _BETWEEN.join([parent_field(grant.parent), *map(str.encode, fields)])


def packed_more(grant: Grant) -> bytes:
    """Return the further fields of a grant; nothing where all have their defaults."""
    if not has_more(grant):
        return b""
    numbers = (grant.last_used_at, grant.idle_limit)
    head = b"".join(_NO_NUMBER if one is None else six(milliseconds(one)) for one in numbers)
    flags = _IS_SESSION * grant.is_session + _HAS_LABEL * (grant.label is not None)
    return head + bytes((flags,)) + (grant.label or "").encode()


def unpacked(grant_id: str, row: bytes, start: int = 0, more: bytes | None = None) -> Grant:
    """Return a grant from its row and further fields. Raises StoreUnavailable if it is damaged."""
    try:
        extras: dict[str, Any] = {} if more is None else _unpacked_more(more)
        a, generation, b, rotated, c, created, d, expires = _HEAD.unpack_from(row, start)
        text = row[start + 24 :].decode("utf-8", "surrogateescape")
        text, _, ending = text.partition(_ENDED_TEXT)
        parent, subject, client_id, scope, claims, *key = text.split(_BETWEEN_TEXT)
        ended_at, _, reason = ending.partition(_BETWEEN_TEXT)
        return Grant(
            id=grant_id,
            subject=subject,
            client_id=client_id,
            scope=scope,
            claims=read_claims(claims),
            bound_key=key[0] if key else None,
            generation=(a << 32) + generation,
            parent=None if parent == _UNKNOWN_TEXT else parent,
            rotated_at=((b << 32) + rotated) / 1000,
            created_at=((c << 32) + created) / 1000,
            expires_at=((d << 32) + expires) / 1000,
            ended_at=int(ended_at) / 1000 if ending else None,
            end_reason=reason if ending else None,
            **extras,
        )
    except (ValueError, error):
        raise StoreUnavailable("a damaged row") from None


def _unpacked_more(more: bytes) -> dict[str, Any]:
    a, used, b, idle, flags = _MORE_HEAD.unpack_from(more)
    return {
        "last_used_at": None if more[:6] == _NO_NUMBER else ((a << 32) + used) / 1000,
        "idle_limit": None if more[6:12] == _NO_NUMBER else ((b << 32) + idle) / 1000,
        "is_session": bool(flags & _IS_SESSION),
        "label": more[_MORE_HEAD.size :].decode() if flags & _HAS_LABEL else None,
    }
