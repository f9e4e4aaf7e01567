#compdef statelatch
# zsh completion for statelatch.
_statelatch() {
    local line="${(j: :)words[1,CURRENT]}" candidate
    local -a values shown suffix
    while IFS= read -r candidate; do
        case $candidate in
            :files) _files; return ;;
            :dirs) _files -/; return ;;
            :commands) _command_names -e; return ;;
            :nospace) suffix=(-S '') ;;
            *)
                values+=("${candidate%%$'\t'*}")
                shown+=("${candidate/$'\t'/  -- }")
                ;;
        esac
    done < <(command ${words[1]:-statelatch} __complete "$line" 2>/dev/null)
    (( $#values )) && compadd -l -d shown $suffix -a values
}
if [[ $funcstack[1] == _statelatch ]]; then _statelatch "$@"; else compdef _statelatch statelatch; fi
