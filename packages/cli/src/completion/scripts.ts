import type { Shell } from '../schemas/completion';

// The scripts that ask `wpo complete` what may come next, and that complete the names of files where it says so. They are our own, because
// those of @bomb.sh/tab 0.0.22 complete no names of files, and most values of `wpo` are paths.

export const SCRIPTS: Readonly<Record<Shell, string>> = {
  bash: `_wpo_complete() {
  local line files=
  COMPREPLY=()
  while IFS= read -r line; do
    case $line in
      :files) files=1 ;;
      *) COMPREPLY+=("\${line%%$'\\t'*}") ;;
    esac
  done < <(wpo complete bash -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
  if [[ \${COMPREPLY[0]-} == *= ]]; then compopt -o nospace; fi
  if [[ -z $files ]]; then compopt +o default; fi
} 2>/dev/null
complete -o default -F _wpo_complete wpo
`,
  zsh: `_wpo() {
  local line files=
  local -a values keys
  for line in "\${(@f)$(wpo complete zsh -- "\${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
    if [[ $line == :files ]]; then files=1
    elif [[ $line == *=$'\\t'* ]]; then keys+=("\${\${line%%$'\\t'*}//:/\\\\:}:\${line#*$'\\t'}")
    elif [[ -n $line ]]; then values+=("\${\${line%%$'\\t'*}//:/\\\\:}:\${line#*$'\\t'}")
    fi
  done
  (( $#values )) && _describe wpo values
  (( $#keys )) && _describe wpo keys -S ''
  if [[ -n $files ]]; then
    compset -P '*='
    _files
  fi
}
compdef _wpo wpo
`,
  fish: `function __wpo_complete
    set -l typed (commandline -ct)
    for line in (wpo complete fish -- (commandline -opc)[2..-1] "$typed" 2>/dev/null)
        if test "$line" = :files
            __fish_complete_path "$typed"
        else
            printf '%s\\n' $line
        end
    end
end
complete -c wpo -f -a '(__wpo_complete)'
`,
};
