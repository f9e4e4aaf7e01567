# bash completion for statelatch. Needs no other package.
_statelatch() {
    local line=${COMP_LINE:0:$COMP_POINT} cur strip='' candidate value
    cur=${line##*[[:space:]]}
    # What bash takes for words ends at ':' and '='; it replaces what is behind the last of those alone.
    case $COMP_WORDBREAKS in *:*) case $cur in *:*) strip=${cur%"${cur##*:}"} ;; esac ;; esac
    case $COMP_WORDBREAKS in *=*) case ${cur#"$strip"} in *=*) strip=${cur%"${cur##*=}"} ;; esac ;; esac
    COMPREPLY=()
    while IFS= read -r candidate; do
        case $candidate in
            :files)
                compopt -o filenames 2>/dev/null
                while IFS= read -r value; do COMPREPLY+=("$value"); done < <(compgen -f -- "${cur#"$strip"}")
                ;;
            :dirs)
                compopt -o filenames 2>/dev/null
                while IFS= read -r value; do COMPREPLY+=("$value"); done < <(compgen -d -- "${cur#"$strip"}")
                ;;
            :commands)
                while IFS= read -r value; do COMPREPLY+=("$value"); done < <(compgen -c -- "$cur")
                ;;
            :nospace) compopt -o nospace 2>/dev/null ;;
            *)
                value=${candidate%%$'\t'*}
                printf -v value '%q' "${value#"$strip"}"
                COMPREPLY+=("$value")
                ;;
        esac
    done < <(command "${COMP_WORDS[0]:-statelatch}" __complete "$line" 2>/dev/null)
}
complete -F _statelatch statelatch
