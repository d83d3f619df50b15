// Verify tokens by cpp-jwt: FOLDER ALGORITHM ISSUER AUDIENCE TOKEN ...
#include <fstream>
#include <iostream>
#include <iterator>
#include <jwt/jwt.hpp>

int main(int argc, char **argv) {
  using namespace jwt::params;
  const std::string algorithm = argv[2];
  const bool is_secret = algorithm.rfind("HS", 0) == 0;
  std::ifstream file(std::string(argv[1]) + (is_secret ? "/secret" : "/key.pem"), std::ios::binary);
  const std::string key{std::istreambuf_iterator<char>(file), {}};
  for (int i = 5; i < argc; i++) {
    try {
      auto token = jwt::decode(jwt::string_view(argv[i]), algorithms({algorithm}), secret(key),
                               issuer(argv[3]), aud(argv[4]), verify(true));
      std::cout << "ok " << token.payload().get_claim_value<std::string>("sub") << "\n";
    } catch (const std::exception &error) {
      std::cout << "no " << error.what() << "\n";
    }
  }
}
