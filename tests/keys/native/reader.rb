# Verify tokens by ruby-jwt or json-jwt: LIBRARY FOLDER ALGORITHM ISSUER AUDIENCE TOKEN ...
require "json"
require "jwt"
require "json/jwt"

library, folder, algorithm, issuer, audience, *tokens = ARGV
keys = JSON.parse(File.read("#{folder}/keys.jwks"))
# Both take the member `k` of a JWK as it stands, without decoding it: they get the secret itself.
secret = File.binread("#{folder}/secret") if algorithm.start_with?("HS")

ruby_jwt = lambda do |token|
  known = { algorithms: [algorithm], iss: issuer, verify_iss: true, aud: audience, verify_aud: true }
  known[:jwks] = keys unless secret
  JWT.decode(token, secret, true, known)[0]
end
json_jwt = lambda do |token|
  JSON::JWT.decode(token, secret || JSON::JWK::Set.new(keys), [algorithm.to_sym])
end

read = { "ruby-jwt" => ruby_jwt, "json-jwt" => json_jwt }.fetch(library)
tokens.each do |token|
  puts "ok #{read.call(token)["sub"]}"
rescue StandardError, NotImplementedError => e
  puts "no #{e.class}: #{e.message.lines.first&.strip}"
end
