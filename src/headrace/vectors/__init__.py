"""Vector stores on other servers, one module each. A module that needs a package loads it when it is first used."""
