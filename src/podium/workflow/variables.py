"""Variables that a workflow can't set where its agents run: they would say which code is run there.

Interpreters, loaders, shells and tools load code, start programs or read settings from where such a variable says. Who
runs the agent decides that; `env` is for what the work itself is told.
"""

from __future__ import annotations

from typing import Final

_BEGINS: Final = (
    "BASH_FUNC_",
    "DYLD_",
    "GIT_",
    "LD_",
    "MAVEN_",
    "NPM_CONFIG_",
    "PERL5",
    "PIP_",
    "PYTHON",
    "RUBY",
    "UV_",
)
_NAMES: Final = frozenset(
    {
        "BASHOPTS",
        "BASH_ENV",
        "BROWSER",
        "BUNDLE_GEMFILE",
        "CDPATH",
        "CLASSPATH",
        "COMSPEC",
        "EDITOR",
        "ENV",
        "GCONV_PATH",
        "GEM_HOME",
        "GEM_PATH",
        "GETCONF_DIR",
        "GLIBC_TUNABLES",
        "GLOBIGNORE",
        "HOME",
        "HOSTALIASES",
        "IFS",
        "JAVA_OPTIONS",
        "JAVA_TOOL_OPTIONS",
        "JDK_JAVA_OPTIONS",
        "LESSCLOSE",
        "LESSOPEN",
        "LOCPATH",
        "LUA_CPATH",
        "LUA_INIT",
        "LUA_PATH",
        "MANPAGER",
        "NLSPATH",
        "NODE_EXTRA_CA_CERTS",
        "NODE_OPTIONS",
        "NODE_PATH",
        "OPENSSL_CONF",
        "OPENSSL_ENGINES",
        "OPENSSL_MODULES",
        "PAGER",
        "PATH",
        "PATHEXT",
        "PERLLIB",
        "PHPRC",
        "PHP_INI_SCAN_DIR",
        "PROMPT_COMMAND",
        "PS4",
        "R_ENVIRON",
        "R_ENVIRON_USER",
        "R_PROFILE",
        "R_PROFILE_USER",
        "SHELL",
        "SHELLOPTS",
        "SSH_ASKPASS",
        "SSLKEYLOGFILE",
        "SUDO_ASKPASS",
        "VIRTUAL_ENV",
        "VISUAL",
        "XDG_CONFIG_DIRS",
        "XDG_CONFIG_HOME",
        "XDG_DATA_DIRS",
        "XDG_DATA_HOME",
        "ZDOTDIR",
        "_JAVA_OPTIONS",
    }
)


def steers_programs(name: str) -> bool:
    """Whether a variable says what code programs run, whatever the case of its letters."""
    name = name.upper()
    return name in _NAMES or name.startswith(_BEGINS)
