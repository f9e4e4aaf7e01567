# fish completion for statelatch.
function __statelatch_complete
    for candidate in (command statelatch __complete (commandline -cp | string collect) 2>/dev/null)
        switch $candidate
            case :files
                __fish_complete_path (commandline -ct)
            case :dirs
                __fish_complete_directories (commandline -ct)
            case :commands
                __fish_complete_command
            case :nospace
            case '*'
                echo $candidate
        end
    end
end
complete -c statelatch -f -a '(__statelatch_complete)'
