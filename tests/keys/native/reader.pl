# Verify tokens by Crypt::JWT or Mojo::JWT: LIBRARY FOLDER ALGORITHM ISSUER AUDIENCE TOKEN ...
use strict;
use warnings;
use JSON::PP qw(decode_json);

my ($library, $folder, $algorithm, $issuer, $audience, @tokens) = @ARGV;

sub text {
    my ($name) = @_;
    open my $file, '<:raw', "$folder/$name" or return;
    local $/;
    return <$file>;
}

sub crypt_jwt {
    my ($token) = @_;
    require Crypt::JWT;
    return Crypt::JWT::decode_jwt(
        token => $token, kid_keys => text('keys.jwks'), accepted_alg => $algorithm,
        verify_iss => $issuer, verify_aud => $audience,
    );
}

sub mojo_jwt {
    my ($token) = @_;
    require Mojo::JWT;
    my @key = $algorithm =~ /^HS/ ? (secret => text('secret')) : (public => text('key.pem'));
    return Mojo::JWT->new(@key)->decode($token);
}

my $read = { 'Crypt::JWT' => \&crypt_jwt, 'Mojo::JWT' => \&mojo_jwt }->{$library};
for my $token (@tokens) {
    my $claims = eval { $read->($token) };
    my ($error) = split /\n/, ($@ || 'undefined');
    print $claims ? "ok $claims->{sub}\n" : "no $error\n";
}
