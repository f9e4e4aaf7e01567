# PowerShell completion for statelatch.
Register-ArgumentCompleter -Native -CommandName statelatch -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)
    $line = $commandAst.ToString()
    if ($line.Length -lt $cursorPosition) { $line += ' ' }
    & statelatch __complete $line 2>$null | Where-Object { -not $_.StartsWith(':') } | ForEach-Object {
        $value, $what = $_ -split "`t", 2
        if (-not $what) { $what = $value }
        [System.Management.Automation.CompletionResult]::new($value, $value, 'ParameterValue', $what)
    }
}
